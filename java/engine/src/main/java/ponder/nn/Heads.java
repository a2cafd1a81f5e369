// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.op.Attention;

/**
 * How the attention of a layer is divided, and how far back it sees. Source of shared heads: Ainslie
 * et al., arXiv:2305.13245.
 *
 * @param count number of heads of queries
 * @param kvHeads number of heads of keys and values, each shared by count / kvHeads of the queries'
 * @param window how many steps a query sees, its own included; 0 for all before it
 */
public record Heads(long count, long kvHeads, long window) {
  /** Checks the numbers. */
  public Heads {
    if (count < 1 || kvHeads < 1 || count % kvHeads != 0 || window < 0) {
      throw new IllegalArgumentException(
          "heads: %s must be a multiple of kvHeads, %s, and window, %s, not below 0"
              .formatted(count, kvHeads, window));
    }
  }

  /** Returns heads with keys and values of their own, which see all steps before. */
  public static Heads of(long count) {
    return new Heads(count, count, 0);
  }

  /** Returns these heads sharing that many heads of keys and values. */
  public Heads withKvHeads(long kvHeads) {
    return new Heads(count, kvHeads, window);
  }

  /** Returns these heads seeing that many steps, or with 0 all. */
  public Heads withWindow(long window) {
    return new Heads(count, kvHeads, window);
  }

  /** Returns what they compute. */
  Attention attention() {
    return Attention.causal().window(window);
  }

  /** Returns the size of one head; checks that it is whole and even, as rotary positions need it. */
  long size(String model, long width) {
    if (width % (2 * count) != 0) {
      throw new IllegalArgumentException(
          model + ": width " + width + " must be a multiple of twice the heads, " + count);
    }
    return width / count;
  }
}
