// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.Arrays;
import ponder.cases.Type;

/** The checks that come before the clock. */
final class Gate {
  private Gate() {}

  /**
   * Refuses values that are too far from the answer: farther than so many times the plain
   * computation in their own type, and one unit in the last place of the largest.
   *
   * @param what names the values
   * @param answer the answer, in double
   * @param plain what the plain computation gives for some of them; its distance is the limit
   * @param plainAnswer the answers to those
   */
  static void near(
      String what,
      Type type,
      double times,
      double[] got,
      double[] answer,
      double[] plain,
      double[] plainAnswer) {
    if (got.length != answer.length) {
      throw new RedGate(what + " has " + got.length + " values, not " + answer.length);
    }
    double largest = Arrays.stream(answer).map(Math::abs).max().orElse(0);
    double limit = times * distance(plain, plainAnswer) + unitInTheLastPlace(type, largest);
    for (int i = 0; i < got.length; i++) {
      // Written so that NaN is refused.
      if (!(Math.abs(got[i] - answer[i]) <= limit)) {
        throw new RedGate(
            "%s[%d] is %s, the answer %s, the limit %.3g"
                .formatted(what, i, got[i], answer[i], limit));
      }
    }
  }

  /** Refuses values that are farther from the answer than that part of its norm. */
  static void nearByNorm(String what, double part, double[] got, double[] answer) {
    double off = 0;
    double norm = 0;
    for (int i = 0; i < answer.length; i++) {
      off += (got[i] - answer[i]) * (got[i] - answer[i]);
      norm += answer[i] * answer[i];
    }
    // Written so that NaN is refused.
    if (got.length != answer.length || !(Math.sqrt(off) <= part * Math.sqrt(norm))) {
      throw new RedGate(
          "%s is off by %.3g of the answer's norm, the limit %.3g"
              .formatted(what, Math.sqrt(off / norm), part));
    }
  }

  /** Refuses values that are not the same bits as before. */
  static void same(String what, double[][] got, double[][] before) {
    for (int i = 0; i < before.length; i++) {
      int place = Arrays.mismatch(got[i], before[i]);
      if (place >= 0) {
        throw new RedGate(
            "%s: value %d of result %d is %s, and was %s"
                .formatted(what, place, i, at(got[i], place), at(before[i], place)));
      }
    }
  }

  private static String at(double[] values, int place) {
    return place < values.length ? String.valueOf(values[place]) : "missing";
  }

  private static double distance(double[] values, double[] answer) {
    double worst = 0;
    for (int i = 0; i < values.length; i++) {
      worst = Math.max(worst, Math.abs(values[i] - answer[i]));
    }
    return worst;
  }

  private static double unitInTheLastPlace(Type type, double value) {
    return switch (type) {
      case F32 -> Math.ulp((float) value);
      case BF16 -> Math.ulp((float) value) * 0x1p16;
      default -> 1e-12 * value;
    };
  }
}
