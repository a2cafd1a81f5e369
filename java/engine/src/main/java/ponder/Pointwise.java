// SPDX-License-Identifier: Apache-2.0
package ponder;

import ponder.abi.Kernels;

/** The primitives that compute each element from the element at the same place. */
final class Pointwise {
  static final Op EXP = new Exp();
  static final Op LOG = new Log();
  static final Op TANH = new Tanh();
  static final Op SIGMOID = new Sigmoid();

  private Pointwise() {}

  private static Tensor output(String what, Launch launch, Tensor x) {
    DType.requireArithmetic(what, x.dtype());
    return launch.output(x.dtype(), x.shape());
  }

  private static Work work(long flopsEach, Tensor x) {
    return new Work(flopsEach * x.size(), 0, 2 * x.bytes());
  }

  /** y = scale x + shift. */
  record Affine(double scale, double shift) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Tensor y = output("affine: x", launch, x);
      Kernels.of(launch)
          .affine(x.dtype().code(), launch.memory(y), launch.memory(x), x.size(), scale, shift);
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return scale == 1 ? dy : dy.scale(scale);
    }

    @Override
    public Work work(Tensor... in) {
      return Pointwise.work(2, in[0]);
    }
  }

  /** y = x^exponent. */
  record Power(double exponent) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Tensor y = output("power: x", launch, x);
      Kernels.of(launch)
          .power(x.dtype().code(), launch.memory(y), launch.memory(x), x.size(), exponent);
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      if (exponent == 0) {
        return null;
      }
      if (exponent == 1) {
        return dy;
      }
      // Others go through a logarithm, which refuses the negative x that -2 and 3 take.
      Tensor slope = isDirect(exponent - 1) ? in[0].power(exponent - 1) : y.div(in[0]);
      return dy.mul(slope.scale(exponent));
    }

    /** Whether the kernel needs no logarithm. */
    private static boolean isDirect(double p) {
      return p == -2 || p == -1 || p == -0.5 || p == 0 || p == 0.5 || p == 1 || p == 2 || p == 3;
    }

    /** Products, quotients and roots as the header lists them; the rest is exp(p log x). */
    @Override
    public Work work(Tensor... in) {
      long each =
          exponent == 0 || exponent == 1
              ? 0
              : exponent == 2 || exponent == -1 || exponent == 0.5
                  ? 1
                  : exponent == 3 || exponent == -2 || exponent == -0.5 ? 2 : 3;
      return Pointwise.work(each, in[0]);
    }
  }

  /** y = e^x. */
  record Exp() implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Tensor y = output("exp: x", launch, x);
      Kernels.of(launch).exp(x.dtype().code(), launch.memory(y), launch.memory(x), x.size());
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.mul(y);
    }

    @Override
    public Work work(Tensor... in) {
      return Pointwise.work(1, in[0]);
    }
  }

  /** y = log x. */
  record Log() implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Tensor y = output("log: x", launch, x);
      Kernels.of(launch).log(x.dtype().code(), launch.memory(y), launch.memory(x), x.size());
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.div(in[0]);
    }

    @Override
    public Work work(Tensor... in) {
      return Pointwise.work(1, in[0]);
    }
  }

  /** y = tanh x. */
  record Tanh() implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Tensor y = output("tanh: x", launch, x);
      Kernels.of(launch).tanh(x.dtype().code(), launch.memory(y), launch.memory(x), x.size());
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.mul(y.mul(y).affine(-1, 1));
    }

    @Override
    public Work work(Tensor... in) {
      return Pointwise.work(1, in[0]);
    }
  }

  /** y = 1 / (1 + e^-x). */
  record Sigmoid() implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor x = in[0];
      Tensor y = output("sigmoid: x", launch, x);
      Kernels.of(launch).sigmoid(x.dtype().code(), launch.memory(y), launch.memory(x), x.size());
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return dy.mul(y.mul(y.affine(-1, 1)));
    }

    @Override
    public Work work(Tensor... in) {
      return Pointwise.work(3, in[0]);
    }
  }
}
