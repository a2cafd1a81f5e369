// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.Locale;

/**
 * What a row is to reach: {@code >= 0.87 peak}, {@code >= 0.95 rival}, {@code <= 0.4 ms}, {@code >=
 * 18000 tokens/s}, {@code <= 64 KiB}, or against another row {@code <= 1.09 of NAME} for the ratio
 * of the times and {@code >= 1.95 of NAME} for that of the speeds.
 *
 * @param atLeast whether more is better
 * @param value the limit
 * @param unit peak, rival, ms, tokens/s, KiB or of
 * @param of the other row's name, or null
 */
record Target(boolean atLeast, double value, String unit, String of) {
  /** Returns the target of a text. */
  static Target parse(String text) {
    String[] word = text.split(" +");
    boolean other = word.length == 4 && word[2].equals("of");
    boolean known = other || word.length == 3 && word[2].matches("peak|rival|ms|tokens/s|KiB");
    if (!known || !word[0].matches(">=|<=")) {
      throw new IllegalArgumentException("not a target: " + text);
    }
    return new Target(
        word[0].equals(">="), Double.parseDouble(word[1]), word[2], other ? word[3] : null);
  }

  /** Returns whether a figure reaches it. */
  boolean isMetBy(double figure) {
    return atLeast ? figure >= value : figure <= value;
  }

  @Override
  public String toString() {
    String sign = atLeast ? ">= " : "<= ";
    return switch (unit) {
      case "peak" -> sign + Math.round(100 * value) + " % of peak";
      case "rival" -> sign + number() + " x the best rival";
      case "of" -> sign + number() + (atLeast ? " x the speed of " : " x the time of ") + of;
      default -> sign + number() + " " + unit;
    };
  }

  private String number() {
    return value == Math.rint(value)
        ? String.format(Locale.ROOT, "%,d", (long) value)
        : String.valueOf(value);
  }
}
