// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.Tensor;

/**
 * Which steps of the sequences of a {@link Feedback} run, and how far back each reads: what the
 * kernels find in first, resets and lengths.
 */
final class FeedbackReach {
  private final Feedback op;
  private final int batch;
  private final int steps;
  private final int[] first;
  private final int[] resets;
  private final int[] lengths;

  FeedbackReach(Feedback op, Tensor... in) {
    this.op = op;
    batch = Math.toIntExact(in[0].shape().dim(0));
    steps = Math.toIntExact(in[0].shape().dim(1));
    Boundaries boundaries = op.boundaries(in);
    Tensor oldest = op.firstOf(in);
    first = oldest == null ? null : oldest.toInts();
    resets = boundaries.resets() == null ? null : boundaries.resets().toInts();
    lengths = boundaries.lengths() == null ? null : boundaries.lengths().toInts();
  }

  /** Returns whether all sequences read alike. */
  boolean isUniform() {
    return first == null && resets == null && lengths == null;
  }

  /** Returns how many steps of a sequence run. */
  int length(int sequence) {
    return lengths == null ? steps : lengths[sequence];
  }

  /** Returns the oldest position that each step of a sequence reads; its own where it reads none. */
  long[] oldest(int sequence) {
    var oldest = new long[steps];
    long begin = first == null ? 0 : first[sequence];
    for (int t = 0; t < steps; t++) {
      long place = op.past() + t;
      if (resets != null && resets[sequence * steps + t] != 0) begin = place;
      oldest[t] = Math.max(begin, op.window() == 0 ? 0 : place - op.window());
    }
    return oldest;
  }

  /** What is counted of all sequences. */
  record Count(long running, long reading, long positions, long ofThePast) {
    private Count plus(Count other) {
      return new Count(
          running + other.running,
          reading + other.reading,
          positions + other.positions,
          ofThePast + other.ofThePast);
    }

    private Count times(long n) {
      return new Count(n * running, n * reading, n * positions, n * ofThePast);
    }
  }

  /**
   * Returns how many steps run, how many of them read the memory, how many positions they read, and
   * how many of the past the first of them sees.
   */
  Count count() {
    if (isUniform()) return count(0).times(batch);
    var all = new Count(0, 0, 0, 0);
    for (int b = 0; b < batch; b++) all = all.plus(count(b));
    return all;
  }

  private Count count(int sequence) {
    long[] oldest = oldest(sequence);
    int length = length(sequence);
    long reading = 0;
    long positions = 0;
    for (int t = 0; t < length; t++) {
      long read = op.past() + t - oldest[t];
      if (read > 0) reading++;
      positions += read;
    }
    return new Count(length, reading, positions, length == 0 ? 0 : op.past() - oldest[0]);
  }
}
