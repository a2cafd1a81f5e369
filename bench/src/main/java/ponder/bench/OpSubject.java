// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Op;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.cases.Call;
import ponder.cases.Case;
import ponder.cases.Cases;
import ponder.cases.Tensors;
import ponder.cases.Type;

/** An op of the cases: its forward kernel, its backward kernel, or one after the other. */
final class OpSubject implements Subject {
  /** How many times as far off as the plain computation a value and a derivative may be. */
  private static final double VALUE_TIMES = 2;

  private static final double DERIVATIVE_TIMES = 3;

  private final Row row;
  private final Call call;
  private final Case.Build op;
  private final boolean derivative;
  private final boolean value;
  private final String deviceName;
  private final Device device;
  private final Scope held;
  private final Tensor[] in;
  private final Tensor[] xs;
  private final Work work;
  private long elements;
  private Scope iteration;
  private Tensor y;

  /**
   * Makes the subject.
   *
   * @param function the case
   * @param direction forward, backward or both
   */
  OpSubject(Row row, String function, String direction, String device) {
    this(row, Cases.of(function).op(), function, direction, device);
  }

  /** Makes a subject of an op that stands for the case's own. */
  OpSubject(Row row, Case.Build op, String function, String direction, String device) {
    this.row = row;
    this.op = op;
    this.value = !direction.equals("backward");
    this.derivative = !direction.equals("forward");
    this.deviceName = device;
    var sizes = new java.util.LinkedHashMap<>(row.sizes());
    sizes.remove("learned");
    this.call = Cases.of(function).call(row.type(), sizes);
    this.device = Subjects.open(device, row.threads());
    this.held = this.device.open();
    this.in = Tensors.inputs(held, call);
    this.xs = wanted(in);
    Work before = this.device.meter().total();
    begin();
    if (!value) before = this.device.meter().total();
    run();
    this.work = this.device.meter().since(before);
    end();
  }

  /** Returns the inputs that a derivative is taken by: floats, and of masks learned ones alone. */
  private Tensor[] wanted(Tensor[] in) {
    List<String> names = call.owner().inputs();
    return java.util.stream.IntStream.range(0, in.length)
        .filter(i -> in[i] != null && in[i].dtype().isFloat())
        .filter(i -> isLearned() || !names.get(i).equals("mask"))
        .mapToObj(i -> in[i])
        .toArray(Tensor[]::new);
  }

  /** Returns whether the result is one number a row, but what is made a choice at each position. */
  private boolean choosesMasks() {
    return call.owner().name().equals("mask");
  }

  private boolean isLearned() {
    return row.sizes().containsKey("learned");
  }

  @Override
  public void begin() {
    iteration = device.open();
    if (!value) y = op.of(call, in);
  }

  @Override
  public Object run() {
    try (Scope own = derivative ? device.open() : device.openUnrecorded()) {
      Tensor result = value ? op.of(call, in) : y;
      elements = choosesMasks() ? in[0].size() : result.size();
      if (derivative) Gradient.of(result, xs);
      device.synchronize();
      return own;
    }
  }

  @Override
  public void end() {
    iteration.close();
  }

  @Override
  public Work work() {
    return work;
  }

  @Override
  public long elements() {
    return elements;
  }

  @Override
  public void close() {
    device.close();
  }

  // ---- the gate --------------------------------------------------------------------------------

  @Override
  public void check(int repeats) {
    Computation kernel = t -> op.of(call, t);
    double[][] got = results(device, row.type(), kernel);
    if (call.owner().name().equals("matmul")) {
      new Product(call).check(got[0]);
    } else {
      checkDefinition(got);
    }
    for (int repeat = 1; repeat < repeats; repeat++) {
      Gate.same(row.name() + " run again", results(device, row.type(), kernel), got);
    }
    if (deviceName.equals("cpu")) {
      int threads = row.onOneThread() ? 2 : 1;
      try (Device other = Device.cpu(threads);
          Scope scope = other.open()) {
        double[][] again = results(other, row.type(), kernel);
        Gate.same(row.name() + " on " + threads + " threads", again, got);
        assert scope != null;
      }
    }
  }

  /** A tensor function of the op's inputs. */
  private interface Computation {
    Tensor of(Tensor... in);
  }

  private void checkDefinition(double[][] got) {
    double[][] answer = results(device, Type.F64, this::definition);
    double part = call.owner().relative(call);
    if (Double.isFinite(part)) {
      for (int i = 0; i < got.length; i++) {
        Gate.nearByNorm(row.name() + ": result " + i, part, got[i], answer[i]);
      }
      return;
    }
    double[][] plain = results(device, row.type(), this::definition);
    if (isLearned() && row.type() != Type.BF16) plain[plain.length - 1] = maskByLoops();
    double times = derivative ? DERIVATIVE_TIMES : VALUE_TIMES;
    for (int i = 0; i < got.length; i++) {
      Gate.near(
          row.name() + ": result " + i, row.type(), times, got[i], answer[i], plain[i], answer[i]);
    }
  }

  /**
   * Returns the mask's derivative as its limit is meant: one mask for each query and head by the
   * definition, summed by a plain loop where they share it. The definition's own sums, in 32 lanes,
   * are closer to the answer.
   */
  private double[] maskByLoops() {
    int place = call.owner().inputs().indexOf("mask");
    try (Scope scope = device.open()) {
      Tensor[] apart = in.clone();
      Shape q = in[0].shape();
      Shape all = Shape.of(q.dim(0), q.dim(2), q.dim(1), in[1].shape().dim(1));
      apart[place] = scope.full(in[place].dtype(), all, 0).add(in[place]).detach();
      double[] each = values(Gradient.of(weighted(definition(apart)), apart[place])[0]);
      var sums = new double[Math.toIntExact(in[place].size())];
      for (int i = 0; i < each.length; i++) {
        int to = shared(i, all, in[place].shape());
        double sum = sums[to] + each[i];
        sums[to] = row.type() == Type.F32 ? (float) sum : sum;
      }
      return sums;
    }
  }

  /** Returns the place in a tensor that is broadcast of element {@code i} of the whole. */
  private static int shared(long i, Shape whole, Shape broadcast) {
    long place = 0;
    long step = 1;
    for (int axis = 1; axis <= broadcast.rank(); axis++) {
      place += broadcast.dim(-axis) == 1 ? 0 : i % whole.dim(-axis) * step;
      step *= broadcast.dim(-axis);
      i /= whole.dim(-axis);
    }
    return Math.toIntExact(place);
  }

  /** Returns the value by other ops. */
  private Tensor definition(Tensor... in) {
    Op.Fused fused = call.owner().fused(call);
    if (fused != null) {
      return fused.definition(Stream.of(in).filter(Objects::nonNull).toArray(Tensor[]::new));
    }
    Tensor chosen = in[1].oneHot(in[0].dtype(), call.number("rows"));
    return switch (call.owner().name()) {
      case "gather" -> chosen.matmul(in[0]);
      case "scatter_add" -> chosen.matmul(in[0], true, false);
      default -> throw new IllegalStateException(row.name() + " has no definition");
    };
  }

  /** Returns the value, or the derivatives of a weighted sum of it, in a type. */
  private double[][] results(Device on, Type type, Computation f) {
    try (Scope scope = on.open()) {
      Tensor[] inputs = on == device ? in.clone() : Tensors.inputs(scope, call);
      for (int i = 0; i < inputs.length; i++) {
        boolean widened = type == Type.F64 && inputs[i] != null && inputs[i].dtype().isFloat();
        if (widened && inputs[i].dtype() != DType.F64) inputs[i] = inputs[i].cast(DType.F64);
      }
      Tensor result = f.of(inputs);
      Tensor[] out =
          derivative ? Gradient.of(weighted(result), wanted(inputs)) : new Tensor[] {result};
      return Arrays.stream(out).map(OpSubject::values).toArray(double[][]::new);
    }
  }

  /** Returns the sum of the elements, each with a weight of its own that every type holds. */
  private static Tensor weighted(Tensor y) {
    Tensor wide = y.dtype() == DType.BF16 ? y.cast(DType.F32) : y;
    Type type = wide.dtype() == DType.F64 ? Type.F64 : Type.F32;
    var random = new SplittableRandom(y.size());
    double[] weights = random.ints(y.size(), -64, 65).mapToDouble(w -> w / 64.0).toArray();
    return wide.mul(Tensors.of(y.device().scope(), type, y.shape(), weights)).sum();
  }

  private static double[] values(Tensor t) {
    return (t.dtype() == DType.BF16 ? t.cast(DType.F32) : t).toDoubles();
  }
}
