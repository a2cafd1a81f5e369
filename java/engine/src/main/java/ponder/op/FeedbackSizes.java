// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.DType;
import ponder.Shape;
import ponder.Tensor;

/** The sizes of a {@link Feedback}, read from its inputs, and what is counted of them. */
record FeedbackSizes(
    long batch,
    long steps,
    long layers,
    long width,
    long inner,
    long heads,
    long kvHeads,
    long headSize,
    long room) {
  private static final long LARGEST_HEAD = 256;
  private static final String[] NAMES = {
    "x",
    "attentionGain",
    "query",
    "mix",
    "mlpGain",
    "wide",
    "narrow",
    "share",
    "memoryGain",
    "key",
    "value",
    "pastKeys",
    "pastValues"
  };

  /** Returns the sizes of inputs that were checked. */
  static FeedbackSizes of(Feedback op, Tensor... in) {
    Shape x = in[0].shape();
    Shape query = in[2].shape();
    return new FeedbackSizes(
        x.dim(0),
        x.dim(1),
        query.dim(0),
        x.dim(2),
        in[5].shape().dim(2),
        query.dim(2),
        in[9].shape().dim(1),
        query.dim(3),
        op.begun() ? in[Feedback.WEIGHTS + 1].shape().dim(1) : 1);
  }

  /** Checks the inputs of an op against each other. */
  static FeedbackSizes check(Feedback op, Tensor... in) {
    int wanted = op.floats();
    for (boolean given : new boolean[] {op.first(), op.resets(), op.lengths()}) {
      if (given) wanted++;
    }
    if (in.length != wanted) {
      throw new IllegalArgumentException("feedback: " + in.length + " inputs, not " + wanted);
    }
    DType.requireArithmetic("feedback: x", in[0].dtype());
    requireRank(in[0], 0, 3, "[batch, steps, width]");
    requireRank(in[2], 2, 4, "[layers, width, heads, head_size]");
    requireRank(in[5], 5, 3, "[layers, width, inner]");
    requireRank(in[9], 9, 3, "[width, kv_heads, head_size]");
    if (op.begun()) requireRank(in[11], 11, 4, "[batch, room, kv_heads, head_size]");
    FeedbackSizes s = of(op, in);
    if (s.headSize % 2 != 0 || s.headSize > LARGEST_HEAD) {
      throw new IllegalArgumentException(
          "feedback: query has shape " + in[2].shape() + "; head_size must be even, at most 256");
    }
    if (s.heads % s.kvHeads != 0) {
      throw new IllegalArgumentException(
          "feedback: query has shape %s, key %s; heads must be a multiple of kv_heads"
              .formatted(in[2].shape(), in[9].shape()));
    }
    Shape[] shapes = s.shapes();
    for (int i = 0; i < op.floats(); i++) {
      DType.require("feedback: " + NAMES[i], in[i].dtype(), in[0].dtype());
      Shape.require("feedback: " + NAMES[i], in[i].shape(), shapes[i], "x", in[0].shape());
    }
    if (op.first()) {
      Tensor first = op.firstOf(in);
      DType.require("feedback: first", first.dtype(), DType.I32);
      Shape.require("feedback: first", first.shape(), Shape.of(s.batch), "x", in[0].shape());
    }
    op.boundaries(in).check("feedback", in[0].shape());
    if (op.past() > (op.begun() ? s.room : 0)) {
      throw new IllegalArgumentException(
          "feedback: past is %s, beyond the %s steps remembered"
              .formatted(op.past(), op.begun() ? s.room : 0));
    }
    return s;
  }

  private static void requireRank(Tensor t, int input, int rank, String shape) {
    if (t.shape().rank() != rank) {
      throw new IllegalArgumentException(
          "feedback: %s has shape %s, must be %s".formatted(NAMES[input], t.shape(), shape));
    }
  }

  private Shape[] shapes() {
    Shape gains = Shape.of(layers, width);
    Shape key = Shape.of(width, kvHeads, headSize);
    Shape past = Shape.of(batch, room, kvHeads, headSize);
    return new Shape[] {
      Shape.of(batch, steps, width),
      gains,
      Shape.of(layers, width, heads, headSize),
      Shape.of(layers, heads, headSize, width),
      gains,
      Shape.of(layers, width, inner),
      Shape.of(layers, inner, width),
      Shape.of(levels()),
      Shape.of(width),
      key,
      key,
      past,
      past
    };
  }

  long levels() {
    return layers + 1;
  }

  long qWidth() {
    return heads * headSize;
  }

  long kvWidth() {
    return kvHeads * headSize;
  }

  /** Returns the shape of what the steps remember, keys or values. */
  Shape remembered() {
    return Shape.of(batch, steps, kvHeads, headSize);
  }

  /** Returns the steps of all sequences. */
  long rows() {
    return batch * steps;
  }

  /** Returns the flops of a norm. */
  long norm() {
    return 4 * width + 4;
  }

  /** Returns the bytes of the inputs: of x the steps that run, of the past those that are read. */
  long bytesRead(Feedback op, FeedbackReach.Count count, Tensor... in) {
    long bytes = 0;
    for (int i = 1; i < in.length; i++) bytes += in[i].bytes();
    if (op.begun()) bytes -= 2 * in[Feedback.WEIGHTS + 1].bytes();
    long numbers = count.running() * width + 2 * count.ofThePast() * kvWidth();
    return bytes + numbers * in[0].dtype().bytes();
  }

  /** Returns the bytes of the states, keys and values of so many steps. */
  long bytesFound(long rows, Tensor... in) {
    return rows * (levels() * width + 2 * kvWidth()) * in[0].dtype().bytes();
  }
}
