// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import ponder.DType;
import ponder.Shape;
import ponder.Tensor;

/**
 * An {@link Attention} with the tensors that it takes beside q, k and v. Immutable: each method
 * returns another one, and {@link #apply} computes.
 */
public final class AttentionInputs {
  private static final long LARGEST_HEAD = 256;

  private final Attention op;
  private final List<Tensor> mask;
  private final List<Tensor> sequences;

  AttentionInputs(Attention op) {
    this(op, List.of(), List.of());
  }

  private AttentionInputs(Attention op, List<Tensor> mask, List<Tensor> sequences) {
    this.op = op;
    this.mask = mask;
    this.sequences = sequences;
  }

  /** Adds a mask: {@link Attention#mask}. */
  public AttentionInputs mask(Tensor mask) {
    return with(true, op.gated(), op.padded(), op.packed(), of("mask", mask), sequences);
  }

  /** Multiplies by gates: {@link Attention#gates}. */
  public AttentionInputs gates(Tensor gates) {
    return with(op.masked(), true, op.padded(), op.packed(), of("gates", gates), sequences);
  }

  /** Lets only the first keys count: {@link Attention#lengths}. */
  public AttentionInputs lengths(Tensor lengths) {
    return with(op.masked(), op.gated(), true, op.packed(), mask, of("lengths", lengths));
  }

  /** Takes one row for many sequences: {@link Attention#packed(Tensor, Tensor)}. */
  public AttentionInputs packed(Tensor qStarts, Tensor kStarts) {
    List<Tensor> starts = new ArrayList<>(of("qStarts", qStarts));
    starts.addAll(of("kStarts", kStarts));
    return with(op.masked(), op.gated(), op.padded(), true, mask, starts);
  }

  private static List<Tensor> of(String name, Tensor t) {
    if (t == null) throw new IllegalArgumentException("attention: " + name + " is null");
    return List.of(t);
  }

  private AttentionInputs with(
      boolean masked,
      boolean gated,
      boolean padded,
      boolean packed,
      List<Tensor> mask,
      List<Tensor> sequences) {
    var changed = new Attention(op.order(), op.window(), op.scale(), masked, gated, padded, packed);
    return new AttentionInputs(changed, mask, sequences);
  }

  /**
   * Returns, for each query and head, the mean of the visible values weighted by the softmax of the
   * scores. A query that sees no key, or only masks of -infinity or gates of 0, gives zeros.
   *
   * @param q [batch, q_steps, heads, head_size], F32, F64 or BF16; head_size at most 256
   * @param k [batch, k_steps, kv_heads, head_size], heads a multiple of kv_heads
   * @param v [batch, k_steps, kv_heads, head_size]
   * @return the shape of q
   * @throws IllegalArgumentException if shapes or types do not fit, a length is outside its range
   *     or starts do not rise to the number of steps
   */
  public Tensor apply(Tensor q, Tensor k, Tensor v) {
    List<Tensor> in = new ArrayList<>(Arrays.asList(q, k, v));
    in.addAll(mask);
    in.addAll(sequences);
    return op.apply(in.toArray(Tensor[]::new));
  }

  /** Returns the op that {@link #apply} applies. */
  public Attention op() {
    return op;
  }

  /** Checks the inputs of an op against each other. */
  static void check(Attention op, Tensor... in) {
    int wanted = 3 + (op.weighted() ? 1 : 0) + (op.padded() ? 1 : 0) + (op.packed() ? 2 : 0);
    if (in.length != wanted) {
      throw new IllegalArgumentException("attention: " + in.length + " inputs, not " + wanted);
    }
    if (op.order() == Attention.Order.CAUSAL_AT_LENGTH && !op.padded()) {
      throw new IllegalArgumentException("attention: causalAtLength needs lengths");
    }
    Tensor q = in[0];
    Shape s = q.shape();
    DType.requireFloat("attention: q", q.dtype());
    if (s.rank() != 4 || s.dim(3) > LARGEST_HEAD || op.packed() && s.dim(0) != 1) {
      throw new IllegalArgumentException(
          "attention: q has shape %s, must be [%s, q_steps, heads, head_size], head_size at most %s"
              .formatted(s, op.packed() ? "1 with starts" : "batch", LARGEST_HEAD));
    }
    checkKeys(q, in[1], in[2]);
    if (op.weighted()) checkMask(op, q, in[1].shape(), in[3]);
    if (op.padded()) {
      Tensor lengths = op.lengths(in);
      DType.require("attention: lengths", lengths.dtype(), DType.I32);
      Shape.require("attention: lengths", lengths.shape(), Shape.of(s.dim(0)), "q", s);
    }
    if (op.packed()) checkStarts(op.qStarts(in), op.kStarts(in));
  }

  private static void checkKeys(Tensor q, Tensor k, Tensor v) {
    DType.require("attention: k", k.dtype(), q.dtype());
    DType.require("attention: v", v.dtype(), q.dtype());
    Shape s = q.shape();
    Shape keys = k.shape();
    boolean fits =
        keys.rank() == 4
            && keys.dim(0) == s.dim(0)
            && s.dim(2) % keys.dim(2) == 0
            && keys.dim(3) == s.dim(3);
    if (!fits) {
      throw new IllegalArgumentException(
          "attention: k has shape %s, q has %s; k must be [%s, k_steps, a divisor of %s, %s]"
              .formatted(keys, s, s.dim(0), s.dim(2), s.dim(3)));
    }
    Shape.require("attention: v", v.shape(), keys, "k", keys);
  }

  private static void checkMask(Attention op, Tensor q, Shape k, Tensor mask) {
    String name = op.gated() ? "attention: gates" : "attention: mask";
    DType.require(name, mask.dtype(), q.dtype());
    Shape s = q.shape();
    Shape full = Shape.of(s.dim(0), s.dim(2), s.dim(1), k.dim(1));
    Shape m = mask.shape();
    boolean fits = m.rank() >= 1 && m.rank() <= 4 && m.dim(-1) == full.dim(3);
    for (int i = 2; fits && i <= m.rank(); i++) {
      fits = m.dim(-i) == 1 || m.dim(-i) == full.dim(-i);
    }
    if (!fits) {
      throw new IllegalArgumentException(
          "%s has shape %s, must broadcast to %s and end in its last size"
              .formatted(name, m, full));
    }
  }

  private static void checkStarts(Tensor qStarts, Tensor kStarts) {
    DType.require("attention: qStarts", qStarts.dtype(), DType.I32);
    DType.require("attention: kStarts", kStarts.dtype(), DType.I32);
    Shape s = qStarts.shape();
    if (s.rank() != 1 || s.size() < 2) {
      throw new IllegalArgumentException(
          "attention: qStarts has shape " + s + ", must be [sequences + 1]");
    }
    Shape.require("attention: kStarts", kStarts.shape(), s, "qStarts", s);
  }
}
