// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import ponder.DType;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * loss = -log softmax(x weight^T)[target], the output product included: the logits are never stored
 * whole. Source: Bishop 2006, eq. 4.108.
 */
public record CrossEntropy() implements Op.Fused {
  /**
   * Returns the loss of each row, in nats.
   *
   * @param x [.., width], F32 or F64
   * @param weight [classes, width], the output layer; its product with a row gives the logits
   * @param target the leading axes of x, I32, in [-1, classes); -1 gives loss 0 and no gradient
   * @return the shape of target
   * @throws IllegalArgumentException if shapes or types do not fit, or a target is outside its
   *     range
   */
  public static Tensor crossEntropy(Tensor x, Tensor weight, Tensor target) {
    return new CrossEntropy().apply(x, weight, target);
  }

  @Override
  public Tensor definition(Tensor... in) {
    long classes = in[1].shape().dim(0);
    Tensor logits = in[0].matmul(in[1], false, true);
    Tensor chosen = in[2].oneHot(logits.dtype(), classes);
    Tensor largest = logits.largest(-1).detach();
    Tensor sum = logits.sub(largest.reshape(logits.shape().with(-1, 1))).exp().sum(-1);
    // A target of -1 has no 1 in its row: the row's loss is 0 times its log-sum-exp, less nothing.
    Tensor counted = chosen.sum(-1);
    return sum.log().add(largest).mul(counted).sub(logits.mul(chosen).sum(-1));
  }

  @Override
  public Result forward(Launch launch, Tensor... in) {
    Tensor x = in[0];
    Tensor weight = in[1];
    Tensor target = in[2];
    Shape shape = Rows.check("crossEntropy: x", x);
    DType.require("crossEntropy: weight", weight.dtype(), x.dtype());
    DType.require("crossEntropy: target", target.dtype(), DType.I32);
    if (shape.rank() < 2) {
      throw new IllegalArgumentException(
          "crossEntropy: x has shape " + shape + ", must be [.., width]");
    }
    Shape rows = shape.without(-1);
    Shape.require("crossEntropy: target", target.shape(), rows, "x", shape);
    if (weight.shape().rank() != 2 || weight.shape().dim(1) != shape.dim(-1)) {
      throw new IllegalArgumentException(
          "crossEntropy: weight has shape "
              + weight.shape()
              + ", x has "
              + shape
              + "; weight must be [classes, "
              + shape.dim(-1)
              + "]");
    }
    Tensor loss = launch.output(x.dtype(), rows);
    Tensor lse = launch.output(x.dtype(), rows);
    Kernels.of(launch)
        .crossEntropy(
            x.dtype().code(),
            launch.memory(loss),
            launch.memory(lse),
            launch.memory(x),
            launch.memory(weight),
            launch.memory(target),
            rows.size(),
            weight.shape().dim(0),
            shape.dim(-1));
    return new Result(loss, lse);
  }

  @Override
  public Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in) {
    Tensor x = in[0];
    Tensor weight = in[1];
    Tensor dx = launch.output(x.dtype(), x.shape());
    Tensor dweight = launch.output(x.dtype(), weight.shape());
    Kernels.of(launch)
        .crossEntropyBackward(
            x.dtype().code(),
            launch.memory(dx),
            launch.memory(dweight),
            launch.memory(dy),
            launch.memory(x),
            launch.memory(weight),
            launch.memory(in[2]),
            launch.memory(y.saved()[0]),
            in[2].size(),
            weight.shape().dim(0),
            weight.shape().dim(1));
    return new Tensor[] {dx, dweight, null};
  }

  /** The rows that have a target; the others cost nothing. */
  private static long counted(Tensor target) {
    long rows = 0;
    for (int t : target.toInts()) rows += t >= 0 ? 1 : 0;
    return rows;
  }

  /** The product; largest, difference, exp and sum 4 per logit; 3 per row. */
  @Override
  public Work work(Tensor... in) {
    long rows = counted(in[2]);
    long logits = rows * in[1].shape().dim(0);
    long product = 2 * logits * in[1].shape().dim(1);
    return new Work(product + 4 * logits + 3 * rows, product, inputs(in) + saved(in));
  }

  /** The product again and two more; difference, exp and product 3 per logit; 1 per row. */
  @Override
  public Work backwardWork(Tensor... in) {
    long rows = counted(in[2]);
    long logits = rows * in[1].shape().dim(0);
    long products = 6 * logits * in[1].shape().dim(1);
    long derivatives = in[0].bytes() + in[1].bytes();
    return new Work(products + 3 * logits + rows, products, inputs(in) + saved(in) + derivatives);
  }

  private static long inputs(Tensor... in) {
    return in[0].bytes() + in[1].bytes() + in[2].bytes();
  }

  /** The bytes of the loss, or of its derivative, and of the log-sum-exp. */
  private static long saved(Tensor... in) {
    return 2 * in[2].size() * in[0].dtype().bytes();
  }
}
