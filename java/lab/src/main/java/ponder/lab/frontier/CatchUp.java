// SPDX-License-Identifier: Apache-2.0
package ponder.lab.frontier;

import java.util.Locale;
import ponder.lab.statistics.Estimate;

/**
 * The catch-up test: is the smaller model with the most test-time compute of a method right as
 * often as the larger one in a single pass, or as the larger one by the same method with no more
 * test FLOPs, both trained with equal FLOPs?
 *
 * @param fraction the training budget of both
 * @param rival how the larger model answers
 * @param rivalSpend how much it spends
 * @param difference the smaller model's share of right answers less the larger one's
 * @param dearer how many times the larger model's test FLOPs the smaller one spends
 * @param verdict caught up, not caught up, or undecided
 */
public record CatchUp(
    String small,
    String method,
    int spend,
    String large,
    String rival,
    int rivalSpend,
    double fraction,
    Estimate difference,
    double dearer,
    String verdict) {
  /** Returns the test of two curves of a frontier, trained with equal FLOPs. */
  public static CatchUp of(Frontier frontier, Curve thinker, Curve rival) {
    int last = thinker.points() - 1;
    int point = Math.max(0, rival.within(thinker.testFlops()[last]));
    Estimate difference = frontier.difference(thinker, last, rival, point);
    return new CatchUp(
        thinker.model(),
        thinker.method(),
        thinker.spend()[last],
        rival.model(),
        rival.method(),
        rival.spend()[point],
        thinker.fraction(),
        difference,
        thinker.testFlops()[last] / rival.testFlops()[point],
        verdict(difference));
  }

  /**
   * Returns the verdict on a difference. Stated beforehand: the smaller model has caught up if the
   * whole 95 % interval is above 0, it has not if the whole interval is below, and else the test is
   * undecided.
   */
  static String verdict(Estimate difference) {
    return difference.low() > 0
        ? "caught up"
        : difference.high() < 0 ? "not caught up" : "undecided";
  }

  /** Returns the test in words. */
  public String text() {
    return String.format(
        Locale.ROOT,
        "%s of the training: %s, %s of %d, against %s, %s of %d: %+.1f points (%+.1f to %+.1f) at"
            + " %.2g times its test FLOPs, %s",
        Curve.part(fraction),
        small,
        method,
        spend,
        large,
        rival,
        rivalSpend,
        100 * difference.value(),
        100 * difference.low(),
        100 * difference.high(),
        dearer,
        verdict);
  }
}
