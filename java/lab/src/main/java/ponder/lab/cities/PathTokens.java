// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Arrays;

/**
 * Paths as sequences of tokens: source, target, v1, ..., vk = target, END; reversed: source,
 * target, v(k-1), ..., v1, source, END, so that a path is written from its target back. The tokens
 * are the places, END and PAD, in this order.
 *
 * @param cities the number of places
 * @param reversed whether paths are written from the target back
 */
public record PathTokens(int cities, boolean reversed) {
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
    int[][] paths = new int[rows][];
    for (int row = 0; row < rows; row++) {
      stream.advance();
      paths[row] = Arrays.copyOf(stream.nodes(), stream.count());
    }
    return batch(paths);
  }

  /**
   * Returns some paths side by side.
   *
   * @param paths the places of each, both ends included
   */
  public Batch batch(int[][] paths) {
    int steps = 0;
    for (int[] path : paths) {
      steps = Math.max(steps, path.length + 1); // source, target, and the places after the source
    }
    int[] input = new int[paths.length * steps];
    int[] target = new int[paths.length * steps];
    int[] lengths = new int[paths.length];
    Arrays.fill(input, pad());
    Arrays.fill(target, IGNORED);
    for (int row = 0; row < paths.length; row++) {
      int[] path = paths[row];
      int moves = path.length - 1;
      int at = row * steps;
      input[at] = path[0];
      input[at + 1] = path[moves];
      for (int i = 0; i < moves; i++) {
        int place = reversed ? path[moves - 1 - i] : path[i + 1];
        input[at + PROMPT + i] = place;
        target[at + 1 + i] = place;
      }
      lengths[row] = path.length + 1;
      target[at + lengths[row] - 1] = end();
    }
    return new Batch(paths.length, steps, input, target, lengths);
  }

  /**
   * Returns the places of a generated path in their order, the source not among them.
   *
   * @param generated the generated tokens, END not among them
   * @return null if a reversed path does not go back to its source
   */
  public int[] places(int source, int target, int[] generated) {
    if (!reversed) {
      return generated;
    }
    int moves = generated.length;
    if (moves == 0 || generated[moves - 1] != source) {
      return null;
    }
    int[] places = new int[moves];
    for (int i = 0; i < moves - 1; i++) {
      places[i] = generated[moves - 2 - i];
    }
    places[moves - 1] = target;
    return places;
  }
}
