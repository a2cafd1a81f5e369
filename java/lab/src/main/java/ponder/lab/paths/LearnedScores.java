// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.nio.IntBuffer;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;
import ponder.Device;
import ponder.Work;
import ponder.lab.decoding.Completion;
import ponder.lab.decoding.Written;

/**
 * The learned scores of everything a model wrote, and what they cost: of equal paths of one query
 * one is read.
 */
final class LearnedScores {
  private final double[][] scores;
  private final int[][] first; // the first completion of the query that is equal
  private final double flopsEach;
  private final double secondsEach;

  /**
   * Reads and scores.
   *
   * @param prompts source and target of each query
   * @param batch paths read at a time
   */
  LearnedScores(PathScorer scorer, Device device, int[][] prompts, Written written, int batch) {
    long began = System.nanoTime();
    Work before = device.meter().total();
    scores = new double[prompts.length][];
    first = new int[prompts.length][];
    List<int[]> of = new ArrayList<>();
    List<Completion> distinct = new ArrayList<>();
    int[][] place = new int[prompts.length][];
    for (int i = 0; i < prompts.length; i++) {
      List<Completion> some = written.of(i);
      Map<IntBuffer, Integer> seen = new HashMap<>();
      first[i] = new int[some.size()];
      place[i] = new int[some.size()];
      for (int j = 0; j < some.size(); j++) {
        Integer same = seen.putIfAbsent(IntBuffer.wrap(some.get(j).tokens()), j);
        first[i][j] = same == null ? j : same;
        place[i][j] = same == null ? distinct.size() : place[i][same];
        if (same == null) {
          of.add(prompts[i]);
          distinct.add(some.get(j));
        }
      }
    }
    double[] values = scorer.scores(device, of, distinct, batch);
    for (int i = 0; i < prompts.length; i++) {
      scores[i] = IntStream.of(place[i]).mapToDouble(p -> values[p]).toArray();
    }
    flopsEach = device.meter().since(before).flops() / (double) distinct.size();
    secondsEach = (System.nanoTime() - began) * 1e-9 / distinct.size();
  }

  /** Returns the scores of a query's completions. */
  double[] of(int query) {
    return scores[query];
  }

  /** Returns how many paths per query are read where the first n are to be scored. */
  private double read(int n) {
    long read = 0;
    for (int[] of : first) {
      for (int j = 0; j < Math.min(n, of.length); j++) {
        read += of[j] == j ? 1 : 0;
      }
    }
    return read / (double) first.length;
  }

  /** Returns the FLOPs per query of scoring the first n completions. */
  double flops(int n) {
    return flopsEach * read(n);
  }

  /** Returns the wall time per query of the same. */
  double seconds(int n) {
    return secondsEach * read(n);
  }
}
