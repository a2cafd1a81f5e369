// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.Arrays;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.PathTokens;
import ponder.lab.decoding.Constraint;

/**
 * The map given to a model while it writes: only a neighbour of the last place may follow, and the
 * end only where the path has arrived. It costs two operations for each neighbour.
 */
final class LegalSteps implements Constraint {
  private final int[][] next;
  private final PathTokens tokens;

  LegalSteps(CityGraph graph, PathTokens tokens) {
    this.tokens = tokens;
    int[] counts = new int[graph.size()];
    for (int node = 0; node < graph.size(); node++) {
      for (int arc = graph.first(node); arc < graph.first(node + 1); arc++) {
        counts[tokens.reversed() ? graph.head(arc) : node]++;
      }
    }
    next = new int[graph.size()][];
    for (int node = 0; node < graph.size(); node++) {
      next[node] = new int[counts[node]];
    }
    for (int node = 0; node < graph.size(); node++) {
      for (int arc = graph.first(node); arc < graph.first(node + 1); arc++) {
        int from = tokens.reversed() ? graph.head(arc) : node;
        int to = tokens.reversed() ? node : graph.head(arc);
        next[from][--counts[from]] = to;
      }
    }
  }

  @Override
  public long narrow(int[] prompt, int[] written, int count, float[] p, int from, int classes) {
    int start = tokens.reversed() ? prompt[1] : prompt[0];
    int goal = tokens.reversed() ? prompt[0] : prompt[1];
    int at = count == 0 ? start : written[count - 1];
    float end = at == goal ? positive(p[from + tokens.end()]) : 0;
    float[] kept = new float[next[at].length];
    for (int i = 0; i < kept.length; i++) {
      kept[i] = positive(p[from + next[at][i]]);
    }
    Arrays.fill(p, from, from + classes, 0);
    for (int i = 0; i < kept.length; i++) {
      p[from + next[at][i]] = kept[i];
    }
    p[from + tokens.end()] = end;
    return 2L * kept.length + 1;
  }

  /** A step that may follow stays possible, however unlikely the model holds it. */
  private static float positive(float p) {
    return Math.max(p, Float.MIN_VALUE);
  }
}
