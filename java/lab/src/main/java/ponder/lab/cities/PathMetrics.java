// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import ponder.lab.statistics.Estimate;

/**
 * Rates over the generated paths of a test. Every query counts in every denominator: a path that is
 * illegal or ends elsewhere has no stretch and so is within no bound. Source: the invalid paths in
 * the denominator follow Vafa et al. 2024, arXiv:2406.03689.
 */
public final class PathMetrics {
  private static final double[] BOUNDS = {1.01, 1.05, 1.10, 1.5};

  private final long[] within = new long[BOUNDS.length];
  private long queries;
  private long legal;
  private long atTarget;
  private long solved;
  private long optimal;
  private long exact;
  private long firstMove;
  private long operations;
  // Sums over paths of steps, legal steps and their products.
  private double steps;
  private double legalSteps;
  private double stepsSquared;
  private double legalSquared;
  private double product;

  /** Returns the stretches that are counted: 1.01, 1.05, 1.10 and 1.5. */
  public static double[] bounds() {
    return BOUNDS.clone();
  }

  /** Counts a path. */
  public void add(PathScore score) {
    queries++;
    legal += score.isLegal() ? 1 : 0;
    atTarget += score.isAtTarget() ? 1 : 0;
    solved += score.isSolved() ? 1 : 0;
    optimal += score.isOptimal() ? 1 : 0;
    exact += score.isExact() ? 1 : 0;
    firstMove += score.isFirstMoveRight() ? 1 : 0;
    operations += score.operations();
    for (int i = 0; i < BOUNDS.length; i++) {
      within[i] += score.stretch() <= BOUNDS[i] ? 1 : 0;
    }
    double all = score.steps();
    double good = score.legalSteps();
    steps += all;
    legalSteps += good;
    stepsSquared += all * all;
    legalSquared += good * good;
    product += all * good;
  }

  /** Returns the number of paths counted. */
  public long queries() {
    return queries;
  }

  /** Returns the share of all steps that follow an edge. */
  public Estimate legalSteps() {
    return Estimate.ratio(queries, legalSteps, steps, legalSquared, product, stepsSquared);
  }

  /** Returns the share of paths that are legal. */
  public Estimate legal() {
    return Estimate.rate(legal, queries);
  }

  /** Returns the share of paths that end at the target. */
  public Estimate endpoint() {
    return Estimate.rate(atTarget, queries);
  }

  /** Returns the share of paths that are legal, end at the target and are at most 10 % too long. */
  public Estimate solved() {
    return Estimate.rate(solved, queries);
  }

  /** Returns the share of paths that are as short as can be. */
  public Estimate optimal() {
    return Estimate.rate(optimal, queries);
  }

  /** Returns the share of paths that are the very ones of the table. */
  public Estimate exact() {
    return Estimate.rate(exact, queries);
  }

  /** Returns the share of paths whose first step is the table's. */
  public Estimate firstMove() {
    return Estimate.rate(firstMove, queries);
  }

  /** Returns the share of paths within {@code bounds()[i]}. */
  public Estimate stretch(int i) {
    return Estimate.rate(within[i], queries);
  }

  /** Returns the comparisons and additions spent on checking all paths. */
  public long operations() {
    return operations;
  }
}
