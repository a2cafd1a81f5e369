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
  private long[] place = {};
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
      fill();
    }
    int batch = order[next++];
    return tokens.batch(Arrays.copyOfRange(pool, batch * rows, (batch + 1) * rows));
  }

  private void fill() {
    place = new long[] {stream.pass(), stream.position()};
    pool = new int[POOL * rows][];
    for (int i = 0; i < pool.length; i++) {
      stream.advance();
      pool[i] = Arrays.copyOf(stream.nodes(), stream.count());
    }
    Arrays.sort(pool, Comparator.comparingInt(path -> path.length));
    order = key.split(pools++).permutation(POOL);
    next = 0;
  }

  /** Returns the pass and the place in it where the next batch's pool begins. */
  long[] position() {
    return next == order.length ? new long[] {stream.pass(), stream.position()} : place.clone();
  }

  /**
   * Goes to where {@link #position} was so.
   *
   * @param taken how many batches had been taken by then
   * @throws IllegalArgumentException if there is no such place
   */
  void seek(long taken, long... position) {
    if (position.length != 2) {
      throw new IllegalArgumentException(
          "path batches: position has " + position.length + " numbers, must have 2");
    }
    stream.seek(position[0], position[1]);
    pools = taken / POOL;
    order = new int[0];
    next = 0;
    if (taken % POOL > 0) {
      fill();
      next = (int) (taken % POOL);
    }
  }
}
