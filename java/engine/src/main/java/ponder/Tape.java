// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.util.Arrays;
import java.util.Comparator;

/** What a tensor was computed from, oldest first, with a table from tensors to places. */
final class Tape {
  private static final int FIRST_NODES = 128;

  // The table has two slots for each node there is room for.
  private Tensor[] nodes;
  private int size;
  private int[] table;

  Tape(Tensor y, long oldest) {
    // No more nodes than serials, and the table's size is a power of two.
    long most = Math.clamp(y.serial - oldest + 1, 1, FIRST_NODES);
    int room = Integer.highestOneBit((int) (2 * most - 1));
    nodes = new Tensor[room];
    table = new int[2 * room];
    if (y.serial >= oldest) {
      add(y);
    }
    // The nodes found so far are also the list of those still to be looked into.
    for (int i = 0; i < size; i++) {
      if (nodes[i].op != null) {
        for (Tensor x : nodes[i].inputs) {
          if (x.serial >= oldest && place(x) < 0) {
            add(x);
          }
        }
      }
    }
    Arrays.sort(nodes, 0, size, Comparator.comparingLong(t -> t.serial));
    index();
  }

  int size() {
    return size;
  }

  Tensor at(int place) {
    return nodes[place];
  }

  private void add(Tensor t) {
    if (size == nodes.length) {
      nodes = Arrays.copyOf(nodes, 2 * size);
      table = new int[4 * size];
      index();
    }
    nodes[size] = t;
    table[slot(t)] = ++size;
  }

  private void index() {
    Arrays.fill(table, 0);
    for (int i = 0; i < size; i++) {
      table[slot(nodes[i])] = i + 1;
    }
  }

  /** Returns the slot of a tensor, or the free one where it belongs. */
  private int slot(Tensor t) {
    int mask = table.length - 1;
    int slot = (int) (t.serial * 0x9E3779B97F4A7C15L >>> 33) & mask;
    while (table[slot] != 0 && nodes[table[slot] - 1] != t) {
      slot = (slot + 1) & mask;
    }
    return slot;
  }

  /** Returns the place of a tensor, or -1. */
  int place(Tensor t) {
    return table[slot(t)] - 1;
  }

  /** Returns which nodes depend on an x; an x depends on itself. */
  boolean[] dependents(Tensor[] xs) {
    boolean[] depends = new boolean[size];
    for (Tensor x : xs) {
      if (place(x) >= 0) {
        depends[place(x)] = true;
      }
    }
    for (int i = 0; i < size; i++) {
      if (nodes[i].op != null) {
        for (Tensor x : nodes[i].inputs) {
          int place = place(x);
          depends[i] |= place >= 0 && depends[place];
        }
      }
    }
    return depends;
  }
}
