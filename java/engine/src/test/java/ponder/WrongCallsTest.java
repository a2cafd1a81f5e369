// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicReference;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Every call here is wrong, gives the exception it is listed with, whose message has the text it is
 * listed with, and leaves the device as it was.
 */
class WrongCallsTest {
  private static final Class<IllegalArgumentException> ARGUMENT = IllegalArgumentException.class;
  private static final Class<IllegalStateException> STATE = IllegalStateException.class;
  private static final Class<NullPointerException> NULL = NullPointerException.class;
  private static final Class<WrongThreadException> THREAD = WrongThreadException.class;
  private static final Class<DeviceOutOfMemoryException> MEMORY = DeviceOutOfMemoryException.class;

  private record Wrong(Class<? extends Throwable> type, String text, Executable call) {}

  private final List<Wrong> calls = new ArrayList<>();

  private void wrong(Class<? extends Throwable> type, String text, Executable call) {
    calls.add(new Wrong(type, text, call));
  }

  /** Makes every call, then checks that the device still computes. */
  private void make(Device device, int atLeast) {
    for (Wrong w : calls) {
      Throwable thrown = null;
      try {
        w.call.execute();
      } catch (Throwable t) {
        thrown = t;
      }
      assertNotNull(thrown, "not refused: " + w.text);
      assertInstanceOf(w.type, thrown, w.text);
      assertNotNull(thrown.getMessage(), w.text);
      assertTrue(thrown.getMessage().contains(w.text), thrown.getMessage() + " lacks " + w.text);
    }
    try (Scope scope = device.open()) {
      assertEquals(21, scope.full(DType.F32, Shape.of(7), 1).affine(1, 2).sum().item());
    }
    assertTrue(calls.size() >= atLeast, "only " + calls.size() + " calls");
  }

  @Test
  void shapes() {
    wrong(ARGUMENT, "size 0 is below 1", () -> Shape.of(0));
    wrong(ARGUMENT, "size 1 is below 1", () -> Shape.of(3, -1));
    wrong(ARGUMENT, "size 2 is below 1", () -> Shape.of(3, 4, Long.MIN_VALUE));
    wrong(ARGUMENT, "overflows", () -> Shape.of(Long.MAX_VALUE, 2));
    wrong(ARGUMENT, "overflows", () -> Shape.of(1L << 32, 1L << 32));
    wrong(ARGUMENT, "has no axis 2", () -> Shape.of(3, 4).dim(2));
    wrong(ARGUMENT, "has no axis -3", () -> Shape.of(3, 4).dim(-3));
    wrong(ARGUMENT, "has no axis 0", () -> Shape.scalar().axis(0));
    wrong(ARGUMENT, "has no axis 5", () -> Shape.of(3).without(5));
    wrong(ARGUMENT, "below 1", () -> Shape.of(3).with(0, 0));
    wrong(ARGUMENT, "overflows", () -> Shape.of(3, 2).with(0, Long.MAX_VALUE));
    wrong(ARGUMENT, "takes no new axis 3", () -> Shape.of(3, 2).insert(3, 1));
    wrong(ARGUMENT, "takes no new axis -4", () -> Shape.of(3, 2).insert(-4, 1));
    wrong(ARGUMENT, "below 1", () -> Shape.of(3).insert(0, -2));
    try (Device device = TestDevices.open(TestDevices.PLAIN)) {
      make(device, 14);
    }
  }

  @Test
  void valuesOfTheirOwn() {
    try (Device device = TestDevices.open(TestDevices.PLAIN)) {
      wrong(ARGUMENT, "bound is 0", () -> Key.of(1).ints(3, 0));
      wrong(ARGUMENT, "bound is -7", () -> Key.of(1).ints(3, -7));
      wrong(ARGUMENT, "n is -1", () -> Key.of(1).ints(-1, 7));
      wrong(ARGUMENT, "n is -1", () -> Key.of(1).uniformFloats(-1));
      wrong(ARGUMENT, "n is -2", () -> Key.of(1).uniformDoubles(-2));
      wrong(ARGUMENT, "n is -3", () -> Key.of(1).normalFloats(-3));
      wrong(ARGUMENT, "n is -4", () -> Key.of(1).permutation(-4));
      wrong(ARGUMENT, "flops is 0", () -> new Budget(device.meter(), 0));
      wrong(ARGUMENT, "flops is -5", () -> new Budget(device.meter(), -5));
      wrong(ARGUMENT, "spent is -1", () -> new Budget(device.meter(), 5, -1));
      make(device, 10);
    }
  }

  @ParameterizedTest
  @MethodSource("ponder.TestDevices#names")
  void tensors(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      wrong(ARGUMENT, "has 3 elements, got 2 values", () -> scope.tensor(Shape.of(3), 1f, 2f));
      wrong(
          ARGUMENT, "has 3 elements, got 0 values", () -> scope.tensor(Shape.of(3), new double[0]));
      wrong(ARGUMENT, "has 1 elements, got 2 values", () -> scope.indices(Shape.scalar(), 1, 2));
      wrong(NULL, "shape", () -> scope.tensor(null, 1f));
      wrong(NULL, "shape", () -> scope.full(DType.F32, null, 1));
      wrong(NULL, "type", () -> scope.full(null, Shape.of(1), 1));
      wrong(NULL, "values", () -> scope.tensor(Shape.of(1), (float[]) null));
      wrong(ARGUMENT, "overflow", () -> scope.full(DType.F64, Shape.of(1L << 62), 1));
      wrong(ARGUMENT, "overflow", () -> scope.full(DType.F32, Shape.of(Long.MAX_VALUE), 1));
      wrong(
          ARGUMENT, "uniform: type is I32", () -> scope.uniform(DType.I32, Shape.of(1), Key.of(1)));
      wrong(ARGUMENT, "keep: tensor is null", () -> scope.keep(null));

      Tensor f32 = scope.tensor(Shape.of(2, 3), 1, 2, 3, 4, 5, 6);
      Tensor f64 = scope.tensor(Shape.of(2, 3), 1., 2., 3., 4., 5., 6.);
      Tensor i32 = scope.indices(Shape.of(2), 0, 1);
      wrong(ARGUMENT, "is F64, must be F32", f64::toFloats);
      wrong(ARGUMENT, "is I32, must be F32", i32::toFloats);
      wrong(ARGUMENT, "is I32, must be F64", i32::toDoubles);
      wrong(ARGUMENT, "is F32, must be I32", f32::toInts);
      wrong(ARGUMENT, "has 6 elements", f32::item);
      wrong(ARGUMENT, "must be", () -> scope.indices(Shape.of(1), 1).item());

      wrong(ARGUMENT, "affine: x is I32", () -> i32.scale(2));
      wrong(ARGUMENT, "power: x is I32", () -> i32.power(2));
      wrong(ARGUMENT, "exp: x is I32", i32::exp);
      wrong(ARGUMENT, "log: x is I32", i32::log);
      wrong(ARGUMENT, "tanh: x is I32", i32::tanh);
      wrong(ARGUMENT, "sigmoid: x is I32", i32::sigmoid);
      wrong(ARGUMENT, "sum: x is I32", () -> i32.sum(0));
      wrong(ARGUMENT, "largest: x is I32", () -> i32.largest(0));
      wrong(ARGUMENT, "add: a is I32", () -> i32.add(i32));

      wrong(ARGUMENT, "add: b is F64, must be F32", () -> f32.add(f64));
      wrong(ARGUMENT, "sub: b is F32, must be F64", () -> f64.sub(f32));
      wrong(ARGUMENT, "mul: b is I32", () -> f32.reshape(3, 2).mul(i32));
      wrong(ARGUMENT, "div: input 1 is null", () -> f32.div(null));
      wrong(ARGUMENT, "input 1 is null", () -> f32.maximum(null));
      wrong(
          ARGUMENT,
          "add: b has shape [3, 2], a has [2, 3]; they do not broadcast",
          () -> f32.add(f32.reshape(3, 2)));
      wrong(ARGUMENT, "greater: b has shape [2]", () -> f32.greater(f32.slice(1, 0, 1).reshape(2)));
      wrong(ARGUMENT, "do not broadcast", () -> f32.sub(f32.reshape(6)));

      wrong(ARGUMENT, "has no axis 2", () -> f32.sum(2));
      wrong(ARGUMENT, "has no axis -3", () -> f32.mean(-3));
      wrong(ARGUMENT, "has no axis 9", () -> f32.largest(9));
      wrong(ARGUMENT, "takes no new axis", () -> f32.broadcast(4, 2));
      wrong(ARGUMENT, "takes no new axis", () -> f32.broadcast(-4, 2));
      wrong(ARGUMENT, "below 1", () -> f32.broadcast(0, 0));
      wrong(ARGUMENT, "below 1", () -> f32.broadcast(0, -3));
      wrong(ARGUMENT, "overflow", () -> f32.broadcast(0, Long.MAX_VALUE));
      wrong(ARGUMENT, "overflow", () -> f32.broadcast(0, Long.MAX_VALUE / 8));
      wrong(ARGUMENT, "does not broadcast to [3]", () -> f32.broadcastTo(Shape.of(3)));
      wrong(ARGUMENT, "does not broadcast to [4, 3]", () -> f32.broadcastTo(Shape.of(4, 3)));
      wrong(NULL, "target", () -> f32.broadcastTo(null));

      wrong(ARGUMENT, "reshape: shape [2, 3] has 6 elements, [4] has 4", () -> f32.reshape(4));
      wrong(ARGUMENT, "below 1", () -> f32.reshape(-1, 6));
      wrong(ARGUMENT, "overflows", () -> f32.reshape(1L << 40, 1L << 40));
      wrong(NULL, "shape", () -> f32.reshape((Shape) null));
      wrong(ARGUMENT, "has no axis 2", () -> f32.swapAxes(0, 2));
      wrong(ARGUMENT, "slice: start 2 and count 2", () -> f32.slice(1, 2, 2));
      wrong(ARGUMENT, "slice: start -1", () -> f32.slice(1, -1, 2));
      wrong(ARGUMENT, "slice: start 0 and count 0", () -> f32.slice(1, 0, 0));
      wrong(ARGUMENT, "slice", () -> f32.slice(1, Long.MAX_VALUE, Long.MAX_VALUE));
      wrong(ARGUMENT, "slice", () -> f32.slice(1, 1, Long.MAX_VALUE));
      wrong(ARGUMENT, "has no axis", () -> f32.slice(2, 0, 1));
      wrong(ARGUMENT, "pad: start 1 and size 3", () -> f32.pad(1, 1, 3));
      wrong(ARGUMENT, "pad: start -1", () -> f32.pad(1, -1, 9));
      wrong(ARGUMENT, "pad", () -> f32.pad(1, 0, -9));
      wrong(ARGUMENT, "overflow", () -> f32.pad(1, 0, Long.MAX_VALUE));
      wrong(ARGUMENT, "all axes but 0 must be equal", () -> f32.concat(f32.reshape(3, 2), 0));
      wrong(ARGUMENT, "all axes but 0 must be equal", () -> f32.concat(f32.reshape(6), 0));
      wrong(ARGUMENT, "concat: b is F64", () -> f32.concat(f64, 0));
      wrong(ARGUMENT, "concat: input 1 is null", () -> f32.concat(null, 0));
      wrong(ARGUMENT, "has no axis", () -> f32.concat(f32, 2));

      wrong(ARGUMENT, "gather: index is F32", () -> f32.gather(f32));
      wrong(ARGUMENT, "gather: table is I32", () -> i32.gather(i32));
      wrong(ARGUMENT, "gather: input 1 is null", () -> f32.gather(null));
      wrong(ARGUMENT, "scalar", () -> f32.sum().gather(i32));
      wrong(ARGUMENT, "2", () -> f32.gather(scope.indices(Shape.of(3), 0, 2, 1)));
      wrong(ARGUMENT, "-1", () -> f32.gather(scope.indices(Shape.of(3), 0, 1, -1)));
      wrong(
          ARGUMENT,
          "" + Integer.MIN_VALUE,
          () -> f32.gather(scope.indices(Shape.of(1), Integer.MIN_VALUE)));
      wrong(ARGUMENT, "scatterAdd: index has shape", () -> f32.scatterAdd(i32.reshape(1, 2), 4));
      wrong(
          ARGUMENT,
          "scatterAdd: index has shape [2, 3, 1]",
          () -> f32.scatterAdd(scope.full(DType.I32, Shape.of(2, 3, 1), 0), 4));
      wrong(ARGUMENT, "scatterAdd: index is F64", () -> f32.scatterAdd(f64, 4));
      wrong(ARGUMENT, "scatterAdd: x is I32", () -> i32.scatterAdd(i32, 4));
      wrong(ARGUMENT, "below 1", () -> f32.scatterAdd(i32, 0));
      wrong(ARGUMENT, "below 1", () -> f32.scatterAdd(i32, -4));
      wrong(ARGUMENT, "overflow", () -> f32.scatterAdd(i32, Long.MAX_VALUE));
      wrong(ARGUMENT, "1", () -> f32.scatterAdd(i32, 1));
      wrong(ARGUMENT, "oneHot: index is F32", () -> f32.oneHot(DType.F32, 4));
      wrong(ARGUMENT, "oneHot: type is I32", () -> i32.oneHot(DType.I32, 4));
      wrong(NULL, "type", () -> i32.oneHot(null, 4));
      wrong(ARGUMENT, "below 1", () -> i32.oneHot(DType.F32, 0));
      wrong(ARGUMENT, "overflow", () -> i32.oneHot(DType.F64, Long.MAX_VALUE / 2));
      wrong(ARGUMENT, "1", () -> i32.oneHot(DType.F32, 1));
      wrong(ARGUMENT, "-2", () -> scope.indices(Shape.of(1), -2).oneHot(DType.F32, 3));

      wrong(ARGUMENT, "inner sizes must be equal", () -> f32.matmul(f32));
      wrong(ARGUMENT, "inner sizes must be equal", () -> f32.matmul(f32, true, true));
      wrong(ARGUMENT, "two axes or more", () -> f32.matmul(f32.reshape(6)));
      wrong(ARGUMENT, "two axes or more", () -> f32.reshape(6).matmul(f32));
      wrong(ARGUMENT, "matmul: b is F64", () -> f32.matmul(f64, false, true));
      wrong(ARGUMENT, "matmul: a is I32", () -> i32.reshape(1, 2).matmul(f32));
      wrong(ARGUMENT, "matmul: input 1 is null", () -> f32.matmul(null));
      wrong(
          ARGUMENT,
          "leading axes must be equal",
          () -> f32.reshape(2, 1, 3).matmul(f32.reshape(1, 3, 2)));
      wrong(
          ARGUMENT,
          "leading axes must be equal",
          () -> f32.reshape(1, 2, 3).matmul(f32, true, false));
      make(device, 90);
    }
  }

  @ParameterizedTest
  @MethodSource("ponder.TestDevices#names")
  void ownersDevicesAndGradients(String name) {
    try (Device device = TestDevices.open(name);
        Device other = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open();
        Scope elsewhere = other.open()) {
      Tensor x = scope.tensor(Shape.of(2), 1.0, 2.0);
      Tensor far = elsewhere.tensor(Shape.of(2), 1.0, 2.0);
      Tensor index = scope.indices(Shape.of(1), 0);
      Tensor w = store.add("w", x);
      wrong(ARGUMENT, "input 1, F64 [2], is on device " + other.name(), () -> x.add(far));
      wrong(ARGUMENT, "not on device " + other.name(), () -> far.mul(x));
      wrong(ARGUMENT, "is on device", () -> x.reshape(1, 2).matmul(far.reshape(2, 1)));
      wrong(ARGUMENT, "is on device", () -> x.concat(far, 0));
      wrong(ARGUMENT, "is on device", () -> far.gather(index));
      wrong(ARGUMENT, "is on device", () -> scope.keep(far));
      wrong(ARGUMENT, "is on device", () -> store.add("far", far));
      wrong(ARGUMENT, "is on device", () -> store.replace("w", far));
      wrong(ARGUMENT, "is on device", () -> Gradient.of(x, far));
      wrong(ARGUMENT, "x 1, F64 [2], is on device", () -> Gradient.of(far, far, x));

      Scope closed = device.open();
      Tensor dead = closed.tensor(Shape.of(2), 1.0, 2.0);
      closed.close();
      Store shut = device.store();
      Tensor lost = shut.add("lost", x);
      shut.close();
      wrong(STATE, "add: input 0, F64 [2], belongs to scope", () -> dead.add(x));
      wrong(STATE, "add: input 1, F64 [2], belongs to scope", () -> x.add(dead));
      wrong(STATE, "which is closed", dead::toDoubles);
      wrong(STATE, "which is closed", dead::detach);
      wrong(STATE, "which is closed", () -> dead.reshape(1, 2));
      wrong(STATE, "which is closed", () -> scope.keep(dead));
      wrong(STATE, "which is closed", () -> store.add("dead", dead));
      wrong(STATE, "which is closed", () -> store.replace("w", dead));
      wrong(STATE, "which is closed", () -> Gradient.of(dead, dead));
      wrong(STATE, "which is closed", () -> Gradient.of(x, dead));
      wrong(STATE, "belongs to store", () -> x.add(lost));
      wrong(STATE, "belongs to store", lost::toDoubles);
      wrong(STATE, "is closed", () -> closed.tensor(Shape.of(1), 1f));
      wrong(STATE, "is closed", () -> closed.full(DType.F32, Shape.of(1), 1));
      wrong(STATE, "is closed", () -> closed.uniform(DType.F32, Shape.of(1), Key.of(1)));
      wrong(STATE, "is closed", () -> closed.keep(x));
      wrong(STATE, "is closed", () -> shut.get("lost"));
      wrong(STATE, "is closed", () -> shut.add("more", x));
      wrong(STATE, "is closed", () -> shut.replace("lost", x));
      wrong(STATE, "no scope is around", () -> scope.keep(x));

      wrong(ARGUMENT, "there is no value \"v\" among [w]", () -> store.get("v"));
      wrong(ARGUMENT, "there is no value \"v\"", () -> store.replace("v", x));
      wrong(ARGUMENT, "there is a value \"w\" already", () -> store.add("w", x));
      wrong(ARGUMENT, "needs a name", () -> store.add("", x));
      wrong(ARGUMENT, "needs a name", () -> store.add(null, x));
      wrong(ARGUMENT, "is null", () -> store.add("null", null));
      wrong(ARGUMENT, "is null", () -> store.replace("w", null));
      wrong(ARGUMENT, "has shape [1, 2], must be [2]", () -> store.replace("w", x.reshape(1, 2)));
      wrong(
          ARGUMENT,
          "is F32, must be F64",
          () -> store.replace("w", scope.tensor(Shape.of(2), 1f, 2f)));

      wrong(ARGUMENT, "y is null", () -> Gradient.of(null, x));
      wrong(ARGUMENT, "x 1 is null", () -> Gradient.of(x, x, null));
      wrong(ARGUMENT, "y is I32", () -> Gradient.of(index, x));
      wrong(ARGUMENT, "x 0 is I32", () -> Gradient.of(x, index));
      wrong(ARGUMENT, "x 0 is I32", () -> Gradient.ofAgain(x, index));
      wrong(STATE, "was not recorded", () -> Gradient.of(Gradient.of(x.exp(), x)[0], x));
      Tensor read = w.exp();
      store.replace("w", x.scale(2));
      wrong(STATE, "before it was replaced", () -> Gradient.of(read, w));
      wrong(STATE, "before it was replaced", () -> Gradient.ofAgain(read, w));
      make(device, 45);
    }
  }

  @ParameterizedTest
  @MethodSource("ponder.TestDevices#names")
  void otherThreads(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Scope scope = device.open()) {
      Tensor x = scope.tensor(Shape.of(2), 1.0, 2.0);
      Tensor w = store.add("w", x);
      wrongElsewhere(() -> x.add(x));
      wrongElsewhere(() -> w.exp());
      wrongElsewhere(x::toDoubles);
      wrongElsewhere(w::toDoubles);
      wrongElsewhere(x::detach);
      wrongElsewhere(() -> Gradient.of(x, x));
      wrongElsewhere(device::open);
      wrongElsewhere(device::openUnrecorded);
      wrongElsewhere(device::store);
      wrongElsewhere(device::memory);
      wrongElsewhere(device::threads);
      wrongElsewhere(device::synchronize);
      wrongElsewhere(device::close);
      wrongElsewhere(scope::close);
      wrongElsewhere(() -> scope.tensor(Shape.of(1), 1f));
      wrongElsewhere(() -> scope.full(DType.F32, Shape.of(1), 1));
      wrongElsewhere(() -> scope.keep(x));
      wrongElsewhere(store::close);
      wrongElsewhere(() -> store.get("w"));
      wrongElsewhere(() -> store.add("v", x));
      wrongElsewhere(() -> store.replace("w", x));
      make(device, 21);
    }
  }

  /** Lists a call made in a thread of its own; what it throws is thrown here. */
  private void wrongElsewhere(Executable call) {
    String served = Thread.currentThread().getName();
    wrong(
        THREAD,
        "serves thread " + served,
        () -> {
          AtomicReference<Throwable> thrown = new AtomicReference<>();
          Thread thread =
              new Thread(
                  () -> {
                    try {
                      call.execute();
                    } catch (Throwable t) {
                      thrown.set(t);
                    }
                  },
                  "elsewhere");
          thread.start();
          thread.join();
          if (thrown.get() != null) {
            assertTrue(
                thrown.get().getMessage().contains("this is thread elsewhere"),
                thrown.get().getMessage());
            throw thrown.get();
          }
        });
  }

  @ParameterizedTest
  @MethodSource("ponder.TestDevices#names")
  void withNoScopeOrDevice(String name) {
    Device gone = TestDevices.open(name);
    Store goneStore = gone.store();
    Scope goneScope = gone.open();
    Tensor goneTensor = goneScope.tensor(Shape.of(1), 1.0);
    gone.close();
    try (Device device = TestDevices.open(name);
        Store store = device.store()) {
      Tensor w;
      try (Scope scope = device.open()) {
        w = store.add("w", scope.tensor(Shape.of(1), 1.0));
      }
      wrong(STATE, "exp: device " + device.name() + " has no open scope", w::exp);
      wrong(STATE, "has no open scope", () -> w.reshape(1, 1));
      wrong(STATE, "has no open scope", () -> Gradient.of(w, w));
      wrong(STATE, "has no open scope", device::scope);
      wrong(STATE, "is closed", gone::open);
      wrong(STATE, "is closed", gone::openUnrecorded);
      wrong(STATE, "is closed", gone::store);
      wrong(STATE, "is closed", gone::memory);
      wrong(STATE, "is closed", gone::threads);
      wrong(STATE, "is closed", gone::synchronize);
      wrong(STATE, "is closed", goneTensor::exp);
      wrong(STATE, "is closed", goneTensor::item);
      wrong(STATE, "is closed", () -> Gradient.of(goneTensor, goneTensor));
      wrong(STATE, "is closed", () -> goneStore.get("w"));
      wrong(STATE, "is closed", () -> goneScope.tensor(Shape.of(1), 1f));
      make(device, 15);
    }
  }

  static Stream<String> builds() {
    return TestDevices.builds().stream();
  }

  @ParameterizedTest
  @MethodSource("builds")
  void memoryAndThreads(String build) {
    try (Device device = TestDevices.open(build, 1, 16L << 20);
        Scope scope = device.open()) {
      Tensor row = scope.full(DType.F32, Shape.of(1000), 1);
      Tensor column = scope.full(DType.F32, Shape.of(1000, 1), 1);
      Tensor index = scope.full(DType.I32, Shape.of(1000), 0);
      wrong(MEMORY, "16777216", () -> scope.full(DType.F32, Shape.of(4 << 20), 1));
      wrong(MEMORY, "", () -> scope.full(DType.F64, Shape.of(1L << 40), 1));
      wrong(MEMORY, "", () -> scope.full(DType.F64, Shape.of(1L << 59), 1));
      wrong(MEMORY, "", () -> row.broadcast(0, 1_000_000));
      wrong(MEMORY, "", () -> row.broadcast(0, 1L << 50));
      wrong(MEMORY, "", () -> row.pad(0, 0, 1L << 50));
      wrong(MEMORY, "", () -> index.oneHot(DType.F32, 1L << 40));
      wrong(MEMORY, "", () -> row.scatterAdd(index, 1L << 50));
      wrong(
          MEMORY,
          "",
          () -> row.broadcast(0, 2000).matmul(column.broadcastTo(Shape.of(1000, 2000))));
      wrong(ARGUMENT, "threads", () -> TestDevices.open(build, -1, 0));
      wrong(ARGUMENT, "threads", () -> TestDevices.open(build, 1 << 30, 0));
      wrong(ARGUMENT, "", () -> TestDevices.open(build, 1, -1));
      make(device, 12);
    }
  }
}
