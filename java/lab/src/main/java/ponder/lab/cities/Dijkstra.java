// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Arrays;
import java.util.Objects;

/**
 * The shortest paths from one place at a time to all others, in arrays made once.
 *
 * <p>The result is one tree, the same whatever the order of the heap: a length is the least of the
 * sums taken from the source outwards, and of several predecessors that give it, the one with the
 * smallest number is the parent. That a path has a rival is recorded: {@link #isTied}.
 *
 * <p>Source: Dijkstra 1959, with a binary heap.
 */
public final class Dijkstra {
  /**
   * Paths whose lengths differ by no more than this are equally long. It is far above the rounding
   * of a sum of edges and far below any difference on a map.
   */
  public static final double TIE_KILOMETRES = 1e-9;

  private static final int UNSEEN = -1;
  private static final int SETTLED = -2;

  private final CityGraph graph;
  private final double[] kilometres;
  private final int[] parent;
  private final int[] hops;
  private final boolean[] tied;
  private final int[] heap; // nodes, a binary heap by (kilometres, number)
  private final int[] slot; // of a node in the heap, or UNSEEN or SETTLED
  private final int[] settled; // nodes in the order in which they were settled
  private int heapSize;
  private int settledCount;
  private int source = -1;
  private long operations;

  /** Prepares the arrays; {@link #from} fills them. */
  public Dijkstra(CityGraph graph) {
    this.graph = graph;
    int n = graph.size();
    kilometres = new double[n];
    parent = new int[n];
    hops = new int[n];
    tied = new boolean[n];
    heap = new int[n];
    slot = new int[n];
    settled = new int[n];
  }

  /**
   * Finds the shortest paths from a place to all others, in place of the previous ones.
   *
   * @throws IndexOutOfBoundsException if there is no such node
   */
  public void from(int source) {
    search(source, -1);
  }

  /**
   * Finds the shortest path from a place to one target, and no more than that takes: what is said
   * of places farther than the target is void.
   *
   * @throws IndexOutOfBoundsException if there is no such node
   */
  public void between(int source, int target) {
    search(source, Objects.checkIndex(target, graph.size()));
  }

  private void search(int source, int stop) {
    this.source = Objects.checkIndex(source, graph.size());
    Arrays.fill(kilometres, Double.POSITIVE_INFINITY);
    Arrays.fill(parent, -1);
    Arrays.fill(hops, 0);
    Arrays.fill(tied, false);
    Arrays.fill(slot, UNSEEN);
    heapSize = 0;
    settledCount = 0;
    operations = 0;
    kilometres[source] = 0;
    insert(source);
    int[] first = graph.firsts();
    int[] head = graph.heads();
    double[] length = graph.lengths();
    while (heapSize > 0) {
      int u = removeLeast();
      settled[settledCount++] = u;
      if (u != source) {
        hops[u] = hops[parent[u]] + 1;
        tied[u] |= tied[parent[u]];
      }
      if (u == stop) {
        return;
      }
      for (int arc = first[u]; arc < first[u + 1]; arc++) {
        // A settled node cannot gain: every arc is longer than zero.
        if (slot[head[arc]] != SETTLED) {
          reach(head[arc], u, kilometres[u] + length[arc]);
        }
      }
    }
  }

  /** Returns the place the paths start from. */
  public int source() {
    return source;
  }

  /** Returns how many places can be reached, the source among them. */
  public int reached() {
    return settledCount;
  }

  /** Returns the reached places by rising distance: rank 0 is the source. */
  public int reached(int rank) {
    return settled[Objects.checkIndex(rank, settledCount)];
  }

  /** Returns the length of the shortest path in kilometres; infinite where there is none. */
  public double kilometres(int target) {
    return kilometres[target];
  }

  /** Returns the place before the target on its path; -1 for the source and the unreached. */
  public int parent(int target) {
    return parent[target];
  }

  /** Returns the number of steps on the path to a target. */
  public int hops(int target) {
    return hops[target];
  }

  /** Returns whether another path to the target is as short as the one found. */
  public boolean isTied(int target) {
    return tied[target];
  }

  /**
   * Writes the path from the source to a target, both included.
   *
   * @param nodes room for {@code hops(target) + 1} numbers
   * @return how many were written; 0 if the target is not reached
   */
  public int path(int target, int[] nodes) {
    if (slot[target] != SETTLED) {
      return 0;
    }
    int node = target;
    for (int i = hops[target]; i >= 0; i--) {
      nodes[i] = node;
      node = parent[node];
    }
    return hops[target] + 1;
  }

  /** Returns the additions and comparisons of lengths in the last search, ties not sought. */
  public long operations() {
    return operations;
  }

  private void reach(int v, int from, double length) {
    operations += 2; // the addition, and the comparison with what is known
    double known = kilometres[v];
    if (known == Double.POSITIVE_INFINITY) {
      kilometres[v] = length;
      parent[v] = from;
      insert(v);
      return;
    }
    if (Math.abs(length - known) <= TIE_KILOMETRES) {
      tied[v] = true;
    } else if (length < known) {
      tied[v] = false;
    }
    if (length < known) {
      kilometres[v] = length;
      parent[v] = from;
      rise(slot[v], v);
    } else if (length == known && from < parent[v]) {
      parent[v] = from;
    }
  }

  private boolean isBefore(int a, int b) {
    operations++;
    return kilometres[a] < kilometres[b] || (kilometres[a] == kilometres[b] && a < b);
  }

  private void insert(int node) {
    rise(heapSize++, node);
  }

  private int removeLeast() {
    int least = heap[0];
    slot[least] = SETTLED;
    heapSize--;
    if (heapSize > 0) {
      sink(heap[heapSize]);
    }
    return least;
  }

  /** Puts a node at a free place or above it. */
  private void rise(int place, int node) {
    while (place > 0) {
      int above = (place - 1) >>> 1;
      if (!isBefore(node, heap[above])) {
        break;
      }
      heap[place] = heap[above];
      slot[heap[place]] = place;
      place = above;
    }
    heap[place] = node;
    slot[node] = place;
  }

  /** Puts a node at the free root or below it. */
  private void sink(int node) {
    int place = 0;
    for (int below = 1; below < heapSize; below = 2 * place + 1) {
      if (below + 1 < heapSize && isBefore(heap[below + 1], heap[below])) {
        below++;
      }
      if (!isBefore(heap[below], node)) {
        break;
      }
      heap[place] = heap[below];
      slot[heap[place]] = place;
      place = below;
    }
    heap[place] = node;
    slot[node] = place;
  }
}
