// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.util.ArrayList;
import java.util.List;

/**
 * Derivatives by walking the tape backwards. The walk is a loop in the order of creation, newest
 * first: it needs no stack, however long the chain, and gives the same bits every time. It visits
 * nothing older than the oldest x.
 */
public final class Gradient {
  private Gradient() {}

  /**
   * Returns the derivatives of the sum of y's elements. Fused ops use their backward kernels. The
   * results are not recorded: they cannot be differentiated again.
   *
   * @param y F32, F64 or BF16, computed while recording
   * @param xs what to differentiate by: values of a store, tensors of a scope, results of ops
   * @return for each x a tensor of its shape, in the innermost open scope; zeros where y does not
   *     depend on it
   * @throws IllegalStateException if y was not recorded, or a value of a store that it was
   *     computed from has been replaced since
   */
  public static Tensor[] of(Tensor y, Tensor... xs) {
    return differentiate("Gradient.of", y, false, xs);
  }

  /**
   * Returns the derivatives of the sum of y's elements as tensors that can be differentiated in
   * turn. Fused ops use their definitions.
   *
   * @param y F32, F64 or BF16, computed while recording
   * @param xs what to differentiate by: values of a store, tensors of a scope, results of ops
   * @return for each x a tensor of its shape, in the innermost open scope; zeros where y does not
   *     depend on it
   * @throws IllegalStateException if y or the results are not recorded, or a value of a store that
   *     y was computed from has been replaced since
   */
  public static Tensor[] ofAgain(Tensor y, Tensor... xs) {
    return differentiate("Gradient.ofAgain", y, true, xs);
  }

  private static Tensor[] differentiate(String what, Tensor y, boolean again, Tensor[] xs) {
    if (y == null) {
      throw new IllegalArgumentException(what + ": y is null");
    }
    Device device = y.device();
    device.check(what, "y", y);
    DType.requireFloat(what + ": y", y.dtype());
    boolean isX = false;
    for (int i = 0; i < xs.length; i++) {
      if (device.unusable(xs[i]) || !xs[i].dtype().isFloat()) {
        device.check(what, "x " + i, xs[i]);
        DType.requireFloat(what + ": x " + i, xs[i].dtype());
      }
      isX |= xs[i] == y;
    }
    if (y.inputs == Tensor.UNRECORDED && !isX) {
      throw new IllegalStateException(
          what + ": y was not recorded; it was computed by Gradient.of or in an unrecorded scope");
    }
    Scope scope = device.innermost(what);
    if (again && !device.recording) {
      throw new IllegalStateException(what + ": " + scope.name() + " records nothing");
    }
    Tensor[] found = walk(y, again, scope, xs);
    for (int i = 0; i < xs.length; i++) {
      if (found[i] == null) {
        found[i] = scope.full(xs[i].dtype(), xs[i].shape(), 0);
      }
    }
    return found;
  }

  private static Tensor[] walk(Tensor y, boolean again, Scope scope, Tensor[] xs) {
    Device device = y.device();
    boolean recordingBefore = device.recording;
    List<Tensor> madeBefore = device.made;
    device.recording = again;
    device.made = again ? null : new ArrayList<>();
    try {
      Tensor seed = scope.full(y.dtype(), y.shape(), 1);
      Tensor[] found = pull(y, seed, again, new Spares(scope, device.made), xs);
      for (Tensor x : found) {
        if (x != null) {
          x.base.holds = -1;
        }
      }
      return found;
    } finally {
      device.recording = recordingBefore;
      device.made = madeBefore;
    }
  }

  /**
   * Gives the memory of what a walk made and no longer holds to the tensors it makes next. Only a
   * walk that is not recorded may: nobody else has seen its tensors.
   *
   * @param made what was made or let go since the last sweep; null to do nothing
   */
  private record Spares(Scope scope, List<Tensor> made) {
    void hold(Tensor t) {
      if (t.base.holds >= 0) {
        t.base.holds++;
      }
    }

    void letGo(Tensor t) {
      if (t.base.holds > 0 && --t.base.holds == 0 && made != null) {
        made.add(t.base);
      }
    }

    void sweep() {
      if (made == null) {
        return;
      }
      // By number: this runs for every node, and an iterator would be garbage.
      for (int i = 0; i < made.size(); i++) {
        Tensor t = made.get(i);
        if (t.holds == 0) {
          t.holds = -1;
          scope.giveBack(t);
        }
      }
      made.clear();
    }
  }

  /** Returns the derivatives by xs, given that by y; null where y does not depend on an x. */
  private static Tensor[] pull(Tensor y, Tensor dy, boolean again, Spares spares, Tensor[] xs) {
    long oldest = Long.MAX_VALUE;
    for (Tensor x : xs) {
      oldest = Math.min(oldest, x.serial);
    }
    Tape tape = new Tape(y, oldest);
    boolean[] depends = tape.dependents(xs);
    Tensor[] adjoints = new Tensor[tape.size()];
    Tensor[] found = new Tensor[xs.length];
    if (tape.size() > 0) {
      adjoints[tape.place(y)] = dy;
      spares.hold(dy);
    }
    for (int i = tape.size() - 1; i >= 0; i--) {
      Tensor t = tape.at(i);
      Tensor dt = adjoints[i];
      adjoints[i] = null;
      if (dt == null || !depends[i]) {
        continue;
      }
      for (int j = 0; j < xs.length; j++) {
        if (xs[j] == t) {
          found[j] = dt;
          spares.hold(dt);
        }
      }
      if (t.op != null) {
        step(tape, depends, adjoints, t, dt, again, spares);
      }
      spares.letGo(dt);
      spares.sweep();
    }
    return found;
  }

  /** Adds what one op hands down to the derivatives by its inputs. */
  private static void step(
      Tape tape,
      boolean[] depends,
      Tensor[] adjoints,
      Tensor t,
      Tensor dt,
      boolean again,
      Spares spares) {
    Tensor[] in = t.inputs;
    boolean any = false;
    for (Tensor x : in) {
      any |= leads(tape, depends, x);
    }
    if (!any) {
      return;
    }
    for (int j = 0; j < in.length; j++) {
      if (in[j].lastWritten() > t.serial) {
        throw new IllegalStateException(
            "gradient: %s read input %s, %s of %s, before it was replaced; its derivative is lost"
                .formatted(Device.nameOf(t.op), j, in[j], in[j].home.name()));
      }
    }
    switch (t.op) {
      case Op.Primitive primitive -> {
        for (int j = 0; j < in.length; j++) {
          if (leads(tape, depends, in[j])) {
            accumulate(tape, adjoints, t, j, primitive.adjoint(j, dt, t, in), spares);
          }
        }
      }
      case Op.Fused fused -> {
        boolean[] needs = new boolean[in.length];
        for (int j = 0; j < in.length; j++) {
          needs[j] = leads(tape, depends, in[j]);
        }
        Tensor[] din =
            again ? throughDefinition(fused, t, dt, needs, spares) : kernel(fused, t, dt, needs);
        for (int j = 0; j < in.length; j++) {
          if (needs[j]) {
            accumulate(tape, adjoints, t, j, din[j], spares);
          }
        }
      }
    }
  }

  /** Returns whether the walk leads on from a tensor to an x. */
  private static boolean leads(Tape tape, boolean[] depends, Tensor t) {
    int place = tape.place(t);
    return place >= 0 && depends[place];
  }

  private static Tensor[] kernel(Op.Fused fused, Tensor t, Tensor dt, boolean[] needs) {
    Device device = t.device();
    for (int j = 0; j < t.inputs.length; j++) {
      device.check(fused, "input", j, t.inputs[j]);
    }
    Tensor[] din = fused.backward(new Stage(device, needs), dt, t.result, t.inputs);
    if (din.length != t.inputs.length) {
      throw new IllegalStateException(
          "%s: backward returned %s derivatives for %s inputs"
              .formatted(Device.nameOf(fused), din.length, t.inputs.length));
    }
    if (device.graph == null) {
      device.meter().add(fused.backwardWork(t.inputs));
    } else {
      device.graph.count(() -> fused.backwardWork(t.inputs));
    }
    return din;
  }

  /** Aliases keep the inputs apart, one tensor may be passed twice, and end the walk here. */
  private static Tensor[] throughDefinition(
      Op.Fused fused, Tensor t, Tensor dt, boolean[] needs, Spares spares) {
    Tensor[] in = t.inputs.clone();
    int count = 0;
    for (boolean need : needs) {
      count += need ? 1 : 0;
    }
    Tensor[] aliases = new Tensor[count];
    int next = 0;
    for (int j = 0; j < in.length; j++) {
      if (needs[j]) {
        in[j] = in[j].alias();
        aliases[next++] = in[j];
      }
    }
    Tensor y = fused.definition(in);
    Shape.require(Device.nameOf(fused) + ": definition", y.shape(), t.shape());
    Tensor[] found = pull(y, dt, true, spares, aliases);
    Tensor[] din = new Tensor[in.length];
    next = 0;
    for (int j = 0; j < in.length; j++) {
      din[j] = needs[j] ? found[next++] : null;
    }
    return din;
  }

  private static Tensor sum(Tensor a, Tensor b) {
    DType type = a.dtype();
    return type.hasArithmetic()
        ? a.add(b)
        : a.cast(type.sums()).add(b.cast(type.sums())).cast(type);
  }

  private static void accumulate(
      Tape tape, Tensor[] adjoints, Tensor t, int input, Tensor part, Spares spares) {
    if (part == null) {
      return;
    }
    Tensor x = t.inputs[input];
    if (!part.shape().equals(x.shape()) || part.dtype() != x.dtype()) {
      throw new IllegalStateException(
          "%s: the derivative by input %s is %s, must be %s"
              .formatted(Device.nameOf(t.op), input, part, x));
    }
    int place = tape.place(x);
    Tensor before = adjoints[place];
    adjoints[place] = before == null ? part : sum(before, part);
    spares.hold(adjoints[place]);
    if (before != null) {
      spares.letGo(before);
    }
  }
}
