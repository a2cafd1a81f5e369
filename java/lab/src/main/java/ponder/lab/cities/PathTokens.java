// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Arrays;

/**
 * Paths as sequences of tokens: source, target, v1, ..., vk = target, END. The tokens are the
 * places, END and PAD, in this order.
 *
 * @param cities the number of places
 */
public record PathTokens(int cities) {
  /** The target of a position at which nothing is to be predicted. */
  public static final int IGNORED = -1;

  /** The tokens before the first that is generated: source and target. */
  public static final int PROMPT = 2;

  /**
   * Paths side by side, each a row.
   *
   * @param rows the number of paths
   * @param steps the length of the longest row
   * @param input [rows, steps], the tokens without END, then PAD
   * @param target [rows, steps], the token that follows each, or {@link #IGNORED} after the source
   *     and on padding
   * @param lengths [rows], the tokens of each row that are not padding
   */
  public record Batch(int rows, int steps, int[] input, int[] target, int[] lengths) {
    /** Returns how many tokens are to be predicted. */
    public int predictions() {
      int sum = 0;
      for (int length : lengths) {
        sum += length - 1;
      }
      return sum;
    }
  }

  /** Returns the token that ends a path. */
  public int end() {
    return cities;
  }

  /** Returns the token that fills a row up. */
  public int pad() {
    return cities + 1;
  }

  /** Returns the number of different tokens. */
  public int vocabulary() {
    return cities + 2;
  }

  /** Returns the next paths of a stream, going on into its next pass. */
  public Batch next(PathStream stream, int rows) {
    int[] flat = new int[rows * 16];
    int[] lengths = new int[rows];
    int used = 0;
    int steps = 0;
    for (int row = 0; row < rows; row++) {
      stream.advance();
      int length = stream.count() + 1; // source, target, and the places after the source
      if (used + length > flat.length) {
        flat = Arrays.copyOf(flat, Math.max(2 * flat.length, used + length));
      }
      flat[used] = stream.source();
      flat[used + 1] = stream.target();
      System.arraycopy(stream.nodes(), 1, flat, used + PROMPT, stream.count() - 1);
      used += length;
      lengths[row] = length;
      steps = Math.max(steps, length);
    }
    int[] input = new int[rows * steps];
    int[] target = new int[rows * steps];
    Arrays.fill(input, pad());
    Arrays.fill(target, IGNORED);
    int from = 0;
    for (int row = 0; row < rows; row++) {
      int length = lengths[row];
      int to = row * steps;
      System.arraycopy(flat, from, input, to, length);
      System.arraycopy(flat, from + PROMPT, target, to + 1, length - PROMPT);
      target[to + length - 1] = end();
      from += length;
    }
    return new Batch(rows, steps, input, target, lengths);
  }

  /**
   * Returns how many places were generated before the first END, or all of them where there is
   * none; {@link PathScore} takes the rest.
   */
  public int places(int[] generated, int from, int count) {
    int places = 0;
    while (places < count && generated[from + places] != end()) {
      places++;
    }
    return places;
  }
}
