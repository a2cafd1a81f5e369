// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Arrays;

/**
 * Finds the pairs of points on a unit sphere that are no farther apart than a chord.
 *
 * <p>The cube around the sphere is cut into cells at least a chord wide, so the partners of a point
 * lie in its own cell or in one that touches it. Unlike a grid of latitude and longitude this has
 * neither seam nor poles.
 */
final class Grid {
  private static final int MOST_CELLS = 1 << 20;

  private final double[] x;
  private final double[] y;
  private final double[] z;
  private final double chordSquared;
  private final int cells;
  private final long[] keys; // of the points in `order`, ascending
  private final int[] order; // points by cell, then by number

  /** The pairs may be up to a rounding error farther apart than the chord. */
  Grid(double[] x, double[] y, double[] z, double chord) {
    this.x = x;
    this.y = y;
    this.z = z;
    double reach = chord * (1 + 1e-9) + 1e-15;
    chordSquared = reach * reach;
    cells = (int) Math.max(1, Math.min(MOST_CELLS, Math.floor(2 / reach)));
    int n = x.length;
    long[] cell = new long[n];
    Integer[] sorted = new Integer[n];
    for (int i = 0; i < n; i++) {
      cell[i] = key(cell(x[i]), cell(y[i]), cell(z[i]));
      sorted[i] = i;
    }
    Arrays.sort(sorted, (a, b) -> Long.compare(cell[a], cell[b]));
    order = new int[n];
    keys = new long[n];
    for (int i = 0; i < n; i++) {
      order[i] = sorted[i];
      keys[i] = cell[order[i]];
    }
  }

  /** Writes the partners of a point with a greater number, ascending, and returns how many. */
  int partnersAfter(int point, int[] out) {
    int cellX = cell(x[point]);
    int cellY = cell(y[point]);
    int cellZ = cell(z[point]);
    int count = 0;
    for (int i = Math.max(0, cellX - 1); i <= Math.min(cells - 1, cellX + 1); i++) {
      for (int j = Math.max(0, cellY - 1); j <= Math.min(cells - 1, cellY + 1); j++) {
        // The cells along z are neighbours in the order of keys as well.
        long last = key(i, j, Math.min(cells - 1, cellZ + 1));
        for (int at = firstFrom(key(i, j, Math.max(0, cellZ - 1)));
            at < keys.length && keys[at] <= last;
            at++) {
          int other = order[at];
          if (other > point && squaredChord(point, other) <= chordSquared) {
            out[count++] = other;
          }
        }
      }
    }
    Arrays.sort(out, 0, count);
    return count;
  }

  private double squaredChord(int a, int b) {
    double dx = x[a] - x[b];
    double dy = y[a] - y[b];
    double dz = z[a] - z[b];
    return dx * dx + dy * dy + dz * dz;
  }

  private int cell(double coordinate) {
    return (int) Math.max(0, Math.min(cells - 1, (coordinate + 1) / 2 * cells));
  }

  private long key(int i, int j, int k) {
    return ((long) i * cells + j) * cells + k;
  }

  private int firstFrom(long key) {
    int low = 0;
    int high = keys.length;
    while (low < high) {
      int middle = (low + high) >>> 1;
      if (keys[middle] < key) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  }
}
