// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.Arrays;
import java.util.Comparator;
import ponder.Key;
import ponder.lab.cities.PathStream;
import ponder.lab.cities.PathTokens;

/**
 * Batches of paths of nearly one length, so that little is padded: a pool of paths is taken from
 * the stream, sorted by length, cut into batches, and these are given in random order.
 */
final class PathBatches {
  private static final int POOL = 32;

  private final PathStream stream;
  private final PathTokens tokens;
  private final int rows;
  private final Key key;
  private int[][] pool = {};
  private int[] order = {};
  private int next;
  private long pools;

  /**
   * Begins at the stream's place.
   *
   * @param rows paths in a batch
   * @param key the source of the batches' order
   */
  PathBatches(PathStream stream, PathTokens tokens, int rows, Key key) {
    this.stream = stream;
    this.tokens = tokens;
    this.rows = rows;
    this.key = key;
  }

  /** Returns the next batch. */
  PathTokens.Batch next() {
    if (next == order.length) {
      pool = new int[POOL * rows][];
      for (int i = 0; i < pool.length; i++) {
        stream.advance();
        pool[i] = Arrays.copyOf(stream.nodes(), stream.count());
      }
      Arrays.sort(pool, Comparator.comparingInt(path -> path.length));
      order = key.split(pools++).permutation(POOL);
      next = 0;
    }
    int batch = order[next++];
    return tokens.batch(Arrays.copyOfRange(pool, batch * rows, (batch + 1) * rows));
  }
}
