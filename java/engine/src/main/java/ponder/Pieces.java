// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Pieces of a slab that were taken back, by their size. A step has few sizes, so they stand in a
 * sorted array: a map would box each size it is asked for.
 */
final class Pieces {
  private long[] sizes = {};
  private final List<List<MemorySegment>> pieces = new ArrayList<>();

  private int find(long bytes) {
    return Arrays.binarySearch(sizes, 0, pieces.size(), bytes);
  }

  /** Returns the piece of that many bytes that was taken back last, or null. */
  MemorySegment take(long bytes) {
    int place = find(bytes);
    return place < 0 || pieces.get(place).isEmpty() ? null : pieces.get(place).removeLast();
  }

  void give(MemorySegment piece) {
    int place = find(piece.byteSize());
    if (place < 0) {
      place = -place - 1;
      insert(place, piece.byteSize());
    }
    pieces.get(place).add(piece);
  }

  private void insert(int place, long bytes) {
    int count = pieces.size();
    if (count == sizes.length) {
      sizes = Arrays.copyOf(sizes, 2 * count + 8);
    }
    System.arraycopy(sizes, place, sizes, place + 1, count - place);
    sizes[place] = bytes;
    pieces.add(place, new ArrayList<>());
  }

  void clear() {
    pieces.clear();
  }
}
