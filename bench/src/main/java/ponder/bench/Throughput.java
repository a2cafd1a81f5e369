// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.List;
import ponder.lab.frontier.CatchUp;
import ponder.lab.statistics.Estimate;

/**
 * Throughput against the training budget: what the models that the suite trained are worth, from
 * their exams and from the timings of their rows.
 *
 * @param setting what they learned and were asked
 * @param device what computed
 * @param seeds trainings of each model under each budget
 * @param queries asked at once
 * @param models how they were trained
 * @param ways how often each way was right, and how quickly
 * @param points X_q(C) and what belongs to it
 * @param catchUps the model that goes in rounds against those of a single pass, equally trained
 */
record Throughput(
    BudgetTask.Setting setting,
    String device,
    int seeds,
    int queries,
    List<Model> models,
    List<Way> ways,
    List<Point> points,
    List<CatchUp> catchUps) {
  /** A batch must be answered within this time to count. */
  static final double MOST_SECONDS = 2;

  /** The shares of solved queries at which X is read. */
  static final double[] LEVELS = {0.25, 0.5, 0.75, 0.9};

  /** The lifetime numbers of queries over which training is shared out. */
  static final double[] LIFETIMES = {1e3, 1e6, 1e9};

  /**
   * How a model was trained.
   *
   * @param validation what choosing among its parameters took, as a part of the largest C; apart
   *     from it
   * @param tokensPerSecond in training; null where its row was not timed, as all that follows
   * @param flopsPerToken of training, by the meter
   * @param matrixFlopsPerToken those of them in matrix products: 6 N and attention
   * @param share of the peak, in training; null on a device whose peak is not measured
   */
  record Model(
      String model,
      String description,
      long parameters,
      double validation,
      Spread tokensPerSecond,
      Double flopsPerToken,
      Double matrixFlopsPerToken,
      Spread share,
      boolean disturbed) {}

  /**
   * A way to answer of a trained model.
   *
   * @param budget the number of its training budget
   * @param trainFlops C_train, mean over the seeds
   * @param testFlops c, mean over the seeds
   * @param latencySeconds in which 95 % of the batches were answered
   * @param share of the peak, in answering
   */
  record Way(
      String model,
      int budget,
      String method,
      int spend,
      double trainFlops,
      double testFlops,
      Estimate solved,
      Spread queriesPerSecond,
      double latencySeconds,
      Spread share,
      boolean disturbed) {
    /** Returns the way in words, without its budget. */
    String text() {
      return model + ", " + BudgetWay.text(method, spend);
    }
  }

  /**
   * X at a level and a training budget.
   *
   * @param level q
   * @param budget its number
   * @param trainFlops C
   * @param queriesPerSecond X_q(C), its interval over seeds and queries; 0 where infeasible
   * @param quickest the number of the way that gives it; null where infeasible, as what follows
   * @param tokenEquivalents (training tokens/s) / (queries/s)
   * @param tokenEquivalentsOfFlops c / (6 N + attention)
   * @param eta the exchange rate from the budget before; null where that is infeasible or there is
   *     none
   * @param shares Q c / (C_train + Q c) for each lifetime
   * @param singlePass X_q(C) of the single passes alone
   * @param rival the number of the way of a single-pass model, best of its draws included, that
   *     solves most for no more training and test FLOPs than the quickest; null where none is so
   *     cheap
   */
  record Point(
      double level,
      int budget,
      double trainFlops,
      Estimate queriesPerSecond,
      Integer quickest,
      Double tokenEquivalents,
      Double tokenEquivalentsOfFlops,
      Estimate eta,
      List<Double> shares,
      Estimate singlePass,
      Integer rival) {}
}
