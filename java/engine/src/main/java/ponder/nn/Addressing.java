// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.Shape;
import ponder.Tensor;
import ponder.op.RmsNorm;
import ponder.op.Softmax;

/**
 * How a controller finds its places in a memory [batch, slots, width]: by what they hold, then by
 * where they are. A place is a weighting [batch, slots] that sums to 1; a step passes the last one
 * through content, interpolation, shift and sharpening, then reads, or erases and adds. Source:
 * Graves et al., arXiv:1410.5401, section 3.
 *
 * <pre>{@code
 * Tensor w = Addressing.content(memory, key, strength);
 * w = Addressing.interpolated(w, last, gate);
 * w = Addressing.sharpened(Addressing.shifted(w, shift), power);
 * Tensor read = Addressing.read(memory, w);
 * memory = Addressing.written(memory, w, erase, add);
 * }</pre>
 */
public final class Addressing {
  private static final double EPSILON = 1e-12;
  private static final double LEAST = 1e-30;

  private Addressing() {}

  /**
   * Returns softmax(strength cos(key, slot)).
   *
   * @param memory [batch, slots, width]
   * @param key [batch, width]: what is looked for
   * @param strength [batch, 1], above 0: how sharply
   * @return [batch, slots]
   */
  public static Tensor content(Tensor memory, Tensor key, Tensor strength) {
    Shape s = memory.shape();
    Tensor cosines = unit(memory).matmul(unit(key).reshape(s.dim(0), s.dim(2), 1));
    Tensor scores = cosines.reshape(s.dim(0), s.dim(1));
    return Softmax.softmax(scores.mul(strength.broadcastTo(scores.shape())));
  }

  /**
   * Returns gate found + (1 - gate) last.
   *
   * @param found [batch, slots]
   * @param last [batch, slots], of the step before
   * @param gate [batch, 1], in [0, 1]: 0 ignores the content
   * @return [batch, slots]
   */
  public static Tensor interpolated(Tensor found, Tensor last, Tensor gate) {
    return last.add(found.sub(last).mul(gate.broadcastTo(found.shape())));
  }

  /**
   * Returns the weighting turned around: each shift's share goes so many slots on, past the last
   * slot to the first.
   *
   * @param place [batch, slots]
   * @param shares [batch, 2 reach + 1], each row's sum 1: of the shifts by -reach to reach
   * @return [batch, slots]
   */
  public static Tensor shifted(Tensor place, Tensor shares) {
    long slots = place.shape().dim(1);
    long shifts = shares.shape().dim(1);
    if (shifts % 2 == 0 || shifts > slots) {
      throw new IllegalArgumentException(
          "addressing: %s shifts, must be odd and at most the slots, %s".formatted(shifts, slots));
    }
    Tensor sum = null;
    for (long i = 0; i < shifts; i++) {
      long by = Math.floorMod(i - shifts / 2, slots);
      Tensor turned =
          by == 0 ? place : place.slice(1, slots - by, by).concat(place.slice(1, 0, slots - by), 1);
      Tensor share = turned.mul(shares.slice(1, i, 1).broadcastTo(place.shape()));
      sum = sum == null ? share : sum.add(share);
    }
    return sum;
  }

  /**
   * Returns place^power over its sum.
   *
   * @param place [batch, slots]; shares below 1e-30 count as that
   * @param power [batch, 1], at least 1
   * @return [batch, slots]
   */
  public static Tensor sharpened(Tensor place, Tensor power) {
    Tensor logs = place.affine(1, LEAST).log();
    return Softmax.softmax(logs.mul(power.broadcastTo(place.shape())));
  }

  /**
   * Returns the mean of the slots, weighted by the place.
   *
   * @param memory [batch, slots, width]
   * @param place [batch, slots]
   * @return [batch, width]
   */
  public static Tensor read(Tensor memory, Tensor place) {
    Shape s = memory.shape();
    return place.reshape(s.dim(0), 1, s.dim(1)).matmul(memory).reshape(s.dim(0), s.dim(2));
  }

  /**
   * Returns the memory after a write: slot (1 - place erase) + place add.
   *
   * @param memory [batch, slots, width]
   * @param place [batch, slots]
   * @param erase [batch, width], in [0, 1]
   * @param add [batch, width]
   * @return [batch, slots, width]
   */
  public static Tensor written(Tensor memory, Tensor place, Tensor erase, Tensor add) {
    Tensor kept = memory.sub(memory.mul(spread(memory, place, erase)));
    return kept.add(spread(memory, place, add));
  }

  /** Returns place row^T for each sequence, of the memory's shape. */
  private static Tensor spread(Tensor memory, Tensor place, Tensor row) {
    Shape s = memory.shape();
    return place.reshape(s.dim(0), s.dim(1), 1).matmul(row.reshape(s.dim(0), 1, s.dim(2)));
  }

  /** Returns vectors of length 1 along the last axis; zeros stay. */
  private static Tensor unit(Tensor x) {
    long width = x.shape().dim(-1);
    Tensor gain = x.device().scope().full(x.dtype(), Shape.of(width), 1 / Math.sqrt(width));
    return RmsNorm.rmsNorm(x, gain, EPSILON);
  }
}
