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
  static FeedbackSizes of(Tensor... in) {
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
        in.length > Feedback.WEIGHTS + 1 ? in[Feedback.WEIGHTS + 1].shape().dim(1) : 1);
  }

  /** Checks the inputs of an op against each other. */
  static FeedbackSizes check(Feedback op, Tensor... in) {
    int wanted = Feedback.WEIGHTS + (op.begun() ? 3 : 1);
    if (in.length != wanted) {
      throw new IllegalArgumentException("feedback: " + in.length + " inputs, not " + wanted);
    }
    DType.requireArithmetic("feedback: x", in[0].dtype());
    requireRank(in[0], 0, 3, "[batch, steps, width]");
    requireRank(in[2], 2, 4, "[layers, width, heads, head_size]");
    requireRank(in[5], 5, 3, "[layers, width, inner]");
    requireRank(in[9], 9, 3, "[width, kv_heads, head_size]");
    if (op.begun()) requireRank(in[11], 11, 4, "[batch, room, kv_heads, head_size]");
    FeedbackSizes s = of(in);
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
    for (int i = 0; i < in.length; i++) {
      DType.require("feedback: " + NAMES[i], in[i].dtype(), in[0].dtype());
      Shape.require("feedback: " + NAMES[i], in[i].shape(), shapes[i], "x", in[0].shape());
    }
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

  /** Returns how often a layer reads the memory: not where nothing is remembered. */
  long readings(long past) {
    return batch * layers * (past == 0 ? steps - 1 : steps);
  }

  /** Returns how many positions heads read, of all sequences, steps and layers. */
  long reads(Feedback op) {
    long positions = 0;
    for (long t = 0; t < steps; t++) {
      long place = op.past() + t;
      positions += op.window() == 0 ? place : Math.min(place, op.window());
    }
    return batch * layers * heads * positions;
  }

  /** Returns the bytes of the inputs, of the past those that are read. */
  long bytesRead(Feedback op, Tensor... in) {
    long bytes = 0;
    for (int i = 0; i <= Feedback.WEIGHTS; i++) bytes += in[i].bytes();
    long seen = op.window() == 0 ? op.past() : Math.min(op.past(), op.window());
    return bytes + 2 * batch * seen * kvWidth() * in[0].dtype().bytes();
  }

  /** Returns the bytes of the states, keys and values. */
  long bytesFound(Tensor... in) {
    return rows() * (levels() * width + 2 * kvWidth()) * in[0].dtype().bytes();
  }
}
