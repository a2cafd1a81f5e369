// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import ponder.lab.statistics.Estimate;

/**
 * The smaller model against a single pass of the larger one at equal compute in all: over a
 * lifetime of Q queries the larger one costs C_train + Q C_test, and the smaller one thinks as long
 * as it may for no more.
 *
 * @param queries Q
 * @param small the smaller model
 * @param method how it thinks
 * @param fraction its training budget
 * @param spend the largest measured amount of test-time compute that fits; null where none does
 * @param large the larger model
 * @param rival how it answers
 * @param used the compute in all of the smaller model as a part of the larger one's: below 1 where
 *     no amount between was measured, or none above; null where none fits
 * @param difference the smaller model's share of right answers less the larger one's; null where
 *     none fits
 * @param verdict caught up, not caught up, or undecided, as in {@link CatchUp}; does not fit
 */
public record EqualTotal(
    long queries,
    String small,
    String method,
    double fraction,
    Integer spend,
    String large,
    String rival,
    Double used,
    Estimate difference,
    String verdict) {
  /**
   * Returns the comparison of two curves of a frontier.
   *
   * @param rival its first point is the single pass
   * @param queries at least 1
   */
  public static EqualTotal of(Frontier frontier, Curve thinker, Curve rival, long queries) {
    double single = rival.testFlops()[0];
    double saved = Frontier.saved(thinker.trainFlops(), rival.trainFlops());
    int point = thinker.within(single + saved / queries);
    boolean fits = point >= 0;
    Estimate difference = fits ? frontier.difference(thinker, point, rival, 0) : null;
    return new EqualTotal(
        queries,
        thinker.model(),
        thinker.method(),
        thinker.fraction(),
        fits ? thinker.spend()[point] : null,
        rival.model(),
        rival.method(),
        fits
            ? (thinker.trainFlops() + queries * thinker.testFlops()[point])
                / (rival.trainFlops() + queries * single)
            : null,
        difference,
        fits ? CatchUp.verdict(difference) : "does not fit");
  }
}
