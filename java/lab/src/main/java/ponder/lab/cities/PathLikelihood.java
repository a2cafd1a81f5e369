// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import ponder.lab.statistics.Estimate;

/**
 * What a model's likelihood says about the shortest paths of a test, and whether it comes true: a
 * path sampled at temperature 1 is the exact one with probability exp(-NLL), NLL being summed over
 * its places and the end. So the share of exact samples must be the mean of exp(-NLL), up to
 * chance. It need not be for greedy decoding.
 */
public final class PathLikelihood {
  private long queries;
  private long tokens;
  private long exact;
  private double first;
  private double firstSquared;
  private double rest;
  private double restSquared;
  private double probability;
  private double probabilitySquared;
  private double chance;

  /**
   * Counts a query.
   *
   * @param firstNats the negative log likelihood of the exact path's first step
   * @param restNats that of its other steps and the end, summed
   * @param restTokens how many these are
   * @param isExact whether the path sampled for this query is the exact one
   */
  public void add(double firstNats, double restNats, int restTokens, boolean isExact) {
    double p = Math.exp(-firstNats - restNats);
    queries++;
    tokens += restTokens;
    exact += isExact ? 1 : 0;
    first += firstNats;
    firstSquared += firstNats * firstNats;
    rest += restNats;
    restSquared += restNats * restNats;
    probability += p;
    probabilitySquared += p * p;
    chance += p * (1 - p);
  }

  /** Returns the mean negative log likelihood of the first step, in nats. */
  public Estimate firstNats() {
    return Estimate.mean(queries, first, firstSquared);
  }

  /** Returns the mean negative log likelihood of all that follows the first step, in nats. */
  public Estimate restNats() {
    return Estimate.mean(queries, rest, restSquared);
  }

  /** Returns the mean negative log likelihood of a token after the first step, in nats. */
  public double restNatsPerToken() {
    return rest / tokens;
  }

  /** Returns the share of exact samples that the likelihood predicts: the mean of exp(-NLL). */
  public Estimate predictedExact() {
    return Estimate.mean(queries, probability, probabilitySquared);
  }

  /** Returns the share of samples that were exact. */
  public Estimate measuredExact() {
    return Estimate.rate(exact, queries);
  }

  /**
   * Returns by how many standard deviations more samples were exact than predicted, given the
   * queries; beyond 1.96 either way, the prediction has failed at the 5 % level.
   */
  public double surprise() {
    double excess = exact - probability;
    return chance > 0 ? excess / Math.sqrt(chance) : excess == 0 ? 0 : excess * 1e300;
  }
}
