// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.MemorySegment;
import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Scopes, stores, and the memory behind them. */
class MemoryTest {
  private static final String DEVICES = "ponder.TestDevices#names";

  @ParameterizedTest
  @MethodSource(DEVICES)
  void valuesGoInAndComeOut(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      assertArrayEquals(new float[] {1, 2, 3}, scope.tensor(Shape.of(3), 1f, 2f, 3f).toFloats());
      assertArrayEquals(new double[] {1, 2}, scope.tensor(Shape.of(2), 1f, 2f).toDoubles());
      assertArrayEquals(new double[] {0.1}, scope.tensor(Shape.of(1), 0.1).toDoubles());
      assertArrayEquals(new int[] {4, -5}, scope.indices(Shape.of(2), 4, -5).toInts());
      assertEquals(7, scope.tensor(Shape.scalar(), 7.0).item());
      assertArrayEquals(
          new float[] {0.5f, 0.5f}, scope.full(DType.F32, Shape.of(2), 0.5).toFloats());
      assertArrayEquals(new int[] {3}, scope.full(DType.I32, Shape.of(1), 3).toInts());
      // More than one piece of the buffer between the two memories.
      float[] many = Key.of(1).uniformFloats(200_001);
      assertArrayEquals(many, scope.tensor(Shape.of(200_001), many).toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void uniformNumbersAreThoseOfTheKey(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Key key = Key.of(11).split("noise");
      assertArrayEquals(
          key.uniformFloats(301), scope.uniform(DType.F32, Shape.of(7, 43), key).toFloats());
      assertArrayEquals(
          key.uniformDoubles(33), scope.uniform(DType.F64, Shape.of(33), key).toDoubles());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void eachStepHasUniformNumbersOfItsOwn(String name) {
    try (Device device = TestDevices.open(name);
        Device plain = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open();
        Scope oracle = plain.open()) {
      Key key = Key.of(11);
      Set<Float> firsts = new HashSet<>();
      for (int step : new int[] {0, 1, 2, Integer.MAX_VALUE}) {
        Tensor number = scope.indices(Shape.of(1), step);
        float[] numbers = scope.uniform(DType.F32, Shape.of(33), key, number).toFloats();
        number = oracle.indices(Shape.of(1), step);
        assertArrayEquals(oracle.uniform(DType.F32, Shape.of(33), key, number).toFloats(), numbers);
        assertTrue(firsts.add(numbers[0]), "step " + step);
        if (step == 0) {
          assertArrayEquals(key.uniformFloats(33), numbers);
        }
      }
      Tensor two = scope.indices(Shape.of(2), 0, 0);
      assertThrows(
          IllegalArgumentException.class, () -> scope.uniform(DType.F32, Shape.of(3), key, two));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void aStoreTakesArrays(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open();
        Store store = device.store()) {
      Tensor f = store.add("f", scope.full(DType.F32, Shape.of(2), 0));
      Tensor d = store.add("d", scope.full(DType.F64, Shape.of(1), 0));
      int[] given = {1, 2, 3};
      Tensor i = store.add("i", scope.indices(Shape.of(3), given));
      given[0] = 7;
      assertArrayEquals(new int[] {1, 2, 3}, i.toInts());
      Tensor square = f.mul(f);
      store.upload("f", 1.5f, 2);
      store.upload("d", 0.1);
      store.upload("i", given);
      given[0] = 9;
      assertArrayEquals(new float[] {1.5f, 2}, f.toFloats());
      assertArrayEquals(new double[] {0.1}, d.toDoubles());
      assertArrayEquals(new int[] {7, 2, 3}, i.toInts());
      i.toInts()[0] = 8;
      assertArrayEquals(new int[] {7, 2, 3}, i.reshape(1, 3).toInts());
      assertThrows(IllegalStateException.class, () -> Gradient.of(square, f));
      // What the device alone knows is read from it.
      store.replace("i", scope.full(DType.I32, Shape.of(3), 4));
      assertArrayEquals(new int[] {4, 4, 4}, i.toInts());
      store.replace("i", scope.indices(Shape.of(3), 5, 6, 7));
      assertArrayEquals(new int[] {5, 6, 7}, i.toInts());
      for (Runnable wrong :
          new Runnable[] {
            () -> store.upload("f", 1f),
            () -> store.upload("f", 1.0, 2.0),
            () -> store.upload("f", 1, 2),
            () -> store.upload("i", 1f, 2f, 3f),
            () -> store.upload("none", 1)
          }) {
        assertThrows(IllegalArgumentException.class, wrong::run);
      }
      assertArrayEquals(new float[] {1.5f, 2}, f.toFloats());
    }
  }

  /** The elements that the host remembers are also there. */
  @ParameterizedTest
  @MethodSource(DEVICES)
  void indicesReachTheDevice(String name) {
    try (Device device = TestDevices.open(name);
        Scope outer = device.open()) {
      Tensor t = outer.indices(Shape.of(3), 4, -5, 6);
      try (Scope inner = device.open()) {
        assertArrayEquals(new int[] {4, -5, 6}, inner.keep(t).toInts());
      }
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void keepCopiesToTheScopeAround(String name) {
    try (Device device = TestDevices.open(name);
        Scope outer = device.open()) {
      Tensor kept;
      Tensor lost;
      try (Scope inner = device.open()) {
        lost = inner.tensor(Shape.of(2), 1.0, 2.0).exp();
        kept = inner.keep(lost);
      }
      assertArrayEquals(new double[] {Math.exp(1), Math.exp(2)}, kept.toDoubles(), 1e-14);
      assertThrows(IllegalStateException.class, lost::toDoubles);
      assertThrows(IllegalStateException.class, () -> outer.keep(kept));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void closingAScopeClosesThoseInside(String name) {
    try (Device device = TestDevices.open(name)) {
      Scope outer = device.open();
      Scope inner = device.open();
      Tensor t = inner.tensor(Shape.of(1), 1.0);
      outer.close();
      inner.close();
      outer.close();
      assertThrows(IllegalStateException.class, t::item);
      assertThrows(IllegalStateException.class, () -> t.add(t));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void memoryOfAClosedScopeIsOutOfReachForEveryone(String name) {
    try (Device device = TestDevices.open(name)) {
      MemorySegment memory;
      try (Scope scope = device.open()) {
        memory = scope.tensor(Shape.of(1), 1.0).memory;
        assertEquals(8, memory.byteSize());
      }
      assertThrows(IllegalStateException.class, () -> memory.fill((byte) 0));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void everythingIsAlignedAndApart(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      Set<Long> seen = new HashSet<>();
      long total = 0;
      for (long size : new long[] {1, 3, 7, 17, 33, 301, 5000, 20_000, 1, 300_000, 2, 40_000}) {
        for (int i = 0; i < 5; i++) {
          Tensor t = scope.full(DType.F32, Shape.of(size), size);
          assertEquals(0, t.memory.address() % 64);
          assertTrue(seen.add(t.memory.address()));
          total += size;
        }
      }
      assertTrue(device.memory().used() >= 4 * total);
      assertTrue(device.memory().used() < 3 * 4 * total, device.memory() + " for " + 4 * total);
    }
  }

  private static void step(Device device, Store store, int size) {
    try (Scope scope = device.open()) {
      Tensor x = scope.full(DType.F32, Shape.of(size, 64), 0.01);
      Tensor w = store.get("w");
      Tensor y = x;
      for (int layer = 0; layer < 4; layer++) {
        try (Scope inner = device.open()) {
          inner.full(DType.F32, Shape.of(layer + 1, 1000), 1);
        }
        y = y.matmul(w).tanh();
      }
      Tensor dw = Gradient.of(y.mean(), w)[0];
      store.replace("w", w.sub(dw.scale(0.1)));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void aStepOfKnownSizesAllocatesNothing(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store()) {
      try (Scope scope = device.open()) {
        store.add("w", scope.full(DType.F32, Shape.of(64, 64), 0.01));
      }
      step(device, store, 33);
      step(device, store, 301);
      Device.Memory first = device.memory();
      for (int i = 0; i < 20; i++) {
        step(device, store, i % 2 == 0 ? 33 : 301);
      }
      Device.Memory last = device.memory();
      assertEquals(first.allocations(), last.allocations());
      assertEquals(first.used(), last.used());
    }
  }

  @Test
  void blockSizesAreFourPerPowerOfTwoAndHoldWhatTheyMust() {
    int last = -1;
    for (long bytes = 1; bytes < 1L << 40; bytes += Math.max(1, bytes / 7)) {
      int kind = Pool.kind(bytes);
      assertTrue(Pool.bytes(kind) >= bytes);
      assertTrue(kind == 0 || Pool.bytes(kind - 1) < bytes);
      assertTrue(bytes < 1 << 16 || Pool.bytes(kind) <= bytes + bytes / 4 + 1);
      assertTrue(kind >= last);
      last = kind;
    }
    assertEquals(1 << 16, Pool.bytes(0));
  }

  @ParameterizedTest
  @MethodSource("ponder.TestDevices#builds")
  void theLimitHoldsAndAFullDeviceWorksOn(String build) {
    long limit = 8L << 20;
    try (Device device = TestDevices.open(build, 1, limit)) {
      assertEquals(limit, device.memory().limit());
      try (Scope scope = device.open()) {
        String message =
            assertThrows(
                    DeviceOutOfMemoryException.class,
                    () -> scope.full(DType.F32, Shape.of(4L << 20), 0))
                .getMessage();
        assertTrue(message.contains("8388608"), message);
        assertThrows(
            DeviceOutOfMemoryException.class, () -> scope.full(DType.F32, Shape.of(1L << 58), 0));
        assertEquals(2, scope.full(DType.F32, Shape.of(1000), 2).mean().item());
      }
      // Blocks kept from other steps make room for one of another size.
      for (long size = 100_000; size < 1_500_000; size += 100_000) {
        try (Scope scope = device.open()) {
          assertEquals(1, scope.full(DType.F32, Shape.of(size), 1).largest(0).item());
        }
      }
      assertTrue(device.memory().peak() <= limit);
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void freshMemoryHoldsNoFormerValues(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.open()) {
      assertTrue(Float.isNaN(scope.fresh(DType.F32, Shape.of(3)).toFloats()[2]));
      assertTrue(Double.isNaN(scope.fresh(DType.F64, Shape.of(3)).toDoubles()[2]));
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void aStoreKeepsItsTensorsAndTheirAddresses(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store()) {
      Tensor w;
      long address;
      try (Scope scope = device.open()) {
        Tensor initial = scope.tensor(Shape.of(2), 1.0, 2.0);
        w = store.add("w", initial);
        store.add("step", scope.indices(Shape.of(1), 5));
        address = w.memory.address();
        assertNotEquals(initial.memory.address(), address);
      }
      try (Scope scope = device.open()) {
        store.replace("w", w.add(w));
        store.replace("w", w);
        assertArrayEquals(new double[] {2, 4}, w.toDoubles());
        assertEquals(w, store.get("w"));
        assertEquals(address, store.get("w").memory.address());
        assertThrows(IllegalArgumentException.class, () -> store.add("w", w));
        assertThrows(IllegalArgumentException.class, () -> store.add("", w));
        assertThrows(IllegalArgumentException.class, () -> store.get("v"));
        assertThrows(
            IllegalArgumentException.class,
            () -> store.replace("w", scope.tensor(Shape.of(2), 1f, 2f)));
        assertThrows(
            IllegalArgumentException.class,
            () -> store.replace("w", scope.tensor(Shape.of(1, 2), 1.0, 2.0)));
      }
      assertEquals("[w, step]", store.names().toString());
      assertArrayEquals(new Tensor[] {store.get("w"), store.get("step")}, store.values());
      assertEquals(3, store.size());
      assertArrayEquals(new int[] {5}, store.get("step").toInts());
    }
  }

  /** values[0] += in[0], the memory written by plain Java. */
  private record Increase(boolean fails) implements Update {
    @Override
    public void run(Launch launch, Tensor[] values, Tensor... in) {
      double[] sum = in[0].add(values[0]).toDoubles();
      launch.memory(values[0]).copyFrom(MemorySegment.ofArray(sum));
      if (fails) {
        throw new UnsupportedOperationException("increase");
      }
    }

    @Override
    public Work work(Tensor[] values, Tensor... in) {
      return new Work(1000, 0, 0);
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void anUpdateWritesInPlaceAndCounts(String name) {
    try (Device device = TestDevices.open(name);
        Store store = device.store();
        Store other = device.store();
        Scope scope = device.open()) {
      Tensor w = store.add("w", scope.tensor(Shape.of(2), 1.0, 2.0));
      Tensor y = w.mul(w);
      Tensor[] values = {w};
      store.update(new Increase(false), values, scope.tensor(Shape.of(2), 10.0, 20.0));
      assertArrayEquals(new double[] {11, 22}, w.toDoubles());
      assertEquals(2 + 2 + 1000, device.meter().total().flops());
      assertThrows(IllegalStateException.class, () -> Gradient.of(y, w));

      Tensor again = w.mul(w);
      assertThrows(
          UnsupportedOperationException.class,
          () -> store.update(new Increase(true), values, scope.tensor(Shape.of(2), 1.0, 1.0)));
      assertThrows(IllegalStateException.class, () -> Gradient.of(again, w));
      Tensor v = other.add("v", w);
      store.update(new Increase(false), new Tensor[] {v}, w);
      assertArrayEquals(new double[] {24, 46}, v.toDoubles());
      Tensor[] result = {w.add(w)};
      assertThrows(
          IllegalArgumentException.class, () -> store.update(new Increase(false), result, w));
      Tensor[] view = {w.reshape(2, 1)};
      assertThrows(
          IllegalArgumentException.class, () -> store.update(new Increase(false), view, w));
    }
  }

  @Test
  void closingADeviceClosesItsStoresAndScopes() {
    Device device = TestDevices.open(TestDevices.PLAIN);
    Store store = device.store();
    Scope scope = device.open();
    Tensor w = store.add("w", scope.tensor(Shape.of(1), 1.0));
    device.close();
    device.close();
    store.close();
    scope.close();
    assertThrows(IllegalStateException.class, w::item);
    assertThrows(IllegalStateException.class, () -> store.get("w"));
    assertThrows(IllegalStateException.class, device::open);
    assertThrows(IllegalStateException.class, device::store);
    assertThrows(IllegalStateException.class, device::memory);
  }
}
