// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

/** Disjoint sets of the numbers 0 to n - 1, joined by size, with path halving. */
final class UnionFind {
  private final int[] parent;
  private final int[] size;
  private int largest;

  UnionFind(int n) {
    parent = new int[n];
    size = new int[n];
    for (int i = 0; i < n; i++) {
      parent[i] = i;
      size[i] = 1;
    }
    largest = Math.min(n, 1);
  }

  int root(int i) {
    while (parent[i] != i) {
      parent[i] = parent[parent[i]];
      i = parent[i];
    }
    return i;
  }

  void join(int a, int b) {
    int small = root(a);
    int large = root(b);
    if (small == large) {
      return;
    }
    if (size[small] > size[large]) {
      int swap = small;
      small = large;
      large = swap;
    }
    parent[small] = large;
    size[large] += size[small];
    largest = Math.max(largest, size[large]);
  }

  /** Returns how many members the set with this root has. */
  int size(int root) {
    return size[root];
  }

  /** Returns how many members the largest set has. */
  int largest() {
    return largest;
  }
}
