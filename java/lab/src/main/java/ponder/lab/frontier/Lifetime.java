// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

/**
 * What a model costs while it is in use: its training once, and every query.
 *
 * @param trainFlops C_train, above 0
 * @param testFlops c, the FLOPs of a query, above 0
 */
public record Lifetime(double trainFlops, double testFlops) {
  /** Checks the costs. */
  public Lifetime {
    if (!(trainFlops > 0 && testFlops > 0)) {
      throw new IllegalArgumentException(
          "lifetime: training costs %s FLOPs and a query %s; both must be above 0"
              .formatted(trainFlops, testFlops));
    }
  }

  /** Returns the part of all its compute that so many queries take: Q c / (C_train + Q c). */
  public double share(double queries) {
    return queries * testFlops / (trainFlops + queries * testFlops);
  }

  /**
   * Returns the training-token equivalents of a query: how many tokens the model could be trained
   * on for the same compute.
   *
   * @param flopsPerToken of training, 6 N and attention
   */
  public double tokenEquivalents(double flopsPerToken) {
    return testFlops / flopsPerToken;
  }

  /**
   * Returns the same as a device takes it: how many tokens it trains on in the time of a query.
   *
   * @param tokensPerSecond in training
   * @param queriesPerSecond in answering
   */
  public static double tokenEquivalents(double tokensPerSecond, double queriesPerSecond) {
    return tokensPerSecond / queriesPerSecond;
  }
}
