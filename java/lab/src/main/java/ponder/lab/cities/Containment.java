// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.BitSet;

/**
 * How much of a test has been seen as a piece of something learnt from.
 *
 * @param tests the number of test paths
 * @param contained those that are a run of steps of some training path
 * @param reversed those that are one when read backwards
 */
public record Containment(long tests, long contained, long reversed) {
  /** Returns the share of the test paths contained in a training path. */
  public double share() {
    return tests == 0 ? 0 : (double) contained / tests;
  }

  /** Returns the share of the test paths contained, read backwards, in a training path. */
  public double reversedShare() {
    return tests == 0 ? 0 : (double) reversed / tests;
  }

  /** Counts over all pairs of a table; takes three bits a pair. */
  public static Containment of(PathTable table, Split split) {
    int cities = table.graph().size();
    int[] nodes = new int[table.longest() + 1];
    BitSet[] train = new BitSet[cities];
    BitSet[] unseen = new BitSet[cities];
    BitSet[] unseenReversed = new BitSet[cities];
    long tests = 0;
    for (int i = 0; i < table.sources(); i++) {
      int source = table.source(i);
      train[source] = new BitSet(cities);
      unseen[source] = new BitSet(cities);
      for (int target = 0; target < cities; target++) {
        if (source != target && table.isConnected(source, target)) {
          switch (split.part(source, target, table.hops(source, target))) {
            case TRAIN -> train[source].set(target);
            case TEST -> unseen[source].set(target);
            case VALIDATION -> {}
          }
        }
      }
      unseenReversed[source] = (BitSet) unseen[source].clone();
      tests += unseen[source].cardinality();
    }
    for (int i = 0; i < table.sources(); i++) {
      int source = table.source(i);
      BitSet targets = train[source];
      for (int t = targets.nextSetBit(0); t >= 0; t = targets.nextSetBit(t + 1)) {
        int count = table.path(source, t, nodes);
        for (int a = 0; a < count - 1; a++) {
          for (int b = a + 1; b < count; b++) {
            if (isSet(unseen, nodes[a], nodes[b]) && table.runs(nodes, a, b, 1)) {
              unseen[nodes[a]].clear(nodes[b]);
            }
            if (isSet(unseenReversed, nodes[b], nodes[a]) && table.runs(nodes, b, a, -1)) {
              unseenReversed[nodes[b]].clear(nodes[a]);
            }
          }
        }
      }
    }
    return new Containment(tests, tests - total(unseen), tests - total(unseenReversed));
  }

  private static boolean isSet(BitSet[] pairs, int source, int target) {
    return pairs[source] != null && pairs[source].get(target);
  }

  private static long total(BitSet[] pairs) {
    long total = 0;
    for (BitSet row : pairs) {
      total += row == null ? 0 : row.cardinality();
    }
    return total;
  }
}
