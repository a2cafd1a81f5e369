// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Values that share memory to grow in, against tensors that are concatenated. */
class GrownTest {
  private static final String DEVICES = "ponder.TestDevices#names";

  /** Rows [3, count, 2, 5] of whole numbers that say which they are. */
  private static Tensor rows(Scope scope, int first, int count) {
    float[] values = new float[3 * count * 10];
    for (int i = 0; i < values.length; i++) {
      values[i] = 1000 * (i / (10 * count)) + first + i / 10 % count + i % 10 / 16f;
    }
    return scope.tensor(Shape.of(3, count, 2, 5), values);
  }

  private static void holds(Scope scope, int count, Grown grown) {
    assertEquals(count, grown.count());
    assertEquals(Shape.of(3, count, 2, 5), grown.tensor().shape());
    assertArrayEquals(rows(scope, 0, count).toFloats(), grown.tensor().cast(DType.F32).toFloats());
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void holdsWhatWasAppended(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.openUnrecorded()) {
      for (DType type : new DType[] {DType.F32, DType.F64}) {
        Grown grown = Grown.of(rows(scope, 0, 2).cast(type));
        List<Grown> all = new ArrayList<>();
        int count = 2;
        for (int more : new int[] {1, 1, 3, 17, 1, 40, 1, 1}) {
          all.add(grown);
          grown = grown.append(rows(scope, count, more).cast(type));
          count += more;
          holds(scope, count, grown);
          assertEquals(type, grown.tensor().dtype());
        }
        for (Grown before : all) {
          holds(scope, (int) before.count(), before);
        }
      }
      // BF16 holds small whole numbers.
      Tensor half = scope.full(DType.F32, Shape.of(2, 1, 3), 7).cast(DType.BF16);
      Grown grown = Grown.of(half).append(half);
      assertEquals(Shape.of(2, 2, 3), grown.tensor().shape());
      assertArrayEquals(
          scope.full(DType.F32, Shape.of(12), 7).toFloats(),
          grown.tensor().cast(DType.F32).toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void branchesDoNotSeeEachOther(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.openUnrecorded()) {
      Grown trunk = Grown.of(rows(scope, 0, 4)).append(rows(scope, 4, 1));
      Tensor wrong = scope.full(DType.F32, Shape.of(3, 2, 2, 5), -1);
      final Grown right = trunk.append(rows(scope, 5, 1));
      Grown other = trunk.append(wrong);
      final Grown longer = right.append(rows(scope, 6, 2));
      try (Scope inner = device.openUnrecorded()) {
        right.append(wrong);
        longer.append(wrong);
        assertEquals(scope.device(), inner.device());
      }
      other.append(wrong);
      holds(scope, 5, trunk);
      holds(scope, 6, right);
      holds(scope, 8, longer);
      // What closed with its scope left no room for the newest, which copies.
      holds(scope, 9, longer.append(rows(scope, 8, 1)));
      float[] last = other.tensor().slice(1, 5, 2).toFloats();
      assertArrayEquals(wrong.toFloats(), last);
      assertArrayEquals(rows(scope, 0, 5).toFloats(), other.tensor().slice(1, 0, 5).toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void aRowMoreMovesThatRowAlone(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.openUnrecorded()) {
      Grown grown = Grown.of(rows(scope, 0, 2));
      Tensor x = rows(scope, 2, 1);
      final long inPlace = 2 * x.bytes() + 2 * 4 * 3;
      long copies = 0;
      long moved = 0;
      for (int step = 2; step < 500; step++) {
        final Tensor room = grown.room();
        Work before = device.meter().total();
        grown = grown.append(x);
        Work work = device.meter().since(before);
        assertEquals(0, work.flops());
        moved += work.bytes();
        if (grown.room() == room) {
          assertEquals(inPlace, work.bytes());
        } else {
          copies++;
        }
      }
      assertTrue(copies <= 7, copies + " copies");
      // All copies together: below twice the last, each read and written.
      assertTrue(moved < 500 * inPlace + 4 * 500 * x.bytes(), moved + " bytes");
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void isAConcatenationWhereAGraphIsRecorded(String name) {
    try (Device device = TestDevices.open(name);
        Scope outer = device.open()) {
      Grown held;
      try (Scope scope = device.openUnrecorded()) {
        held = Grown.of(rows(scope, 0, 2)).append(rows(scope, 2, 1));
        held = Grown.of(scope.keep(held.tensor()));
      }
      Tensor x = rows(outer, 3, 1);
      Tensor y = rows(outer, 4, 2);
      Grown grown = held.append(x).append(y);
      assertTrue(grown.isFull());
      holds(outer, 6, grown);
      Tensor weight = rows(outer, 7, 6);
      Tensor[] slopes = Gradient.of(grown.tensor().mul(weight), x, y);
      assertArrayEquals(weight.slice(1, 3, 1).toFloats(), slopes[0].toFloats());
      assertArrayEquals(weight.slice(1, 4, 2).toFloats(), slopes[1].toFloats());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void aRecordedAppendWritesNoRoom(String name) {
    try (Device device = TestDevices.open(name);
        Scope outer = device.openUnrecorded()) {
      Grown held = Grown.of(rows(outer, 0, 2)).append(rows(outer, 2, 1));
      assertFalse(held.isFull());
      Grown newer = held.append(rows(outer, 3, 1));
      try (Scope recorded = device.open()) {
        holds(recorded, 4, held.append(rows(recorded, 3, 1)));
      }
      holds(outer, 4, newer);
      Tensor room = newer.room();
      assertSame(room, newer.append(rows(outer, 4, 1)).room());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void sequencesAreTakenWithoutTheirRoom(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.openUnrecorded()) {
      Grown held = Grown.of(rows(scope, 0, 30)).append(rows(scope, 30, 1));
      assertEquals(62, held.room().shape().dim(1));
      Tensor chosen = scope.indices(Shape.of(4), 2, 0, 2, 1);
      Work before = device.meter().total();
      Grown taken = held.sequences(chosen);
      long bytes = device.meter().since(before).bytes();
      assertEquals(31, taken.count());
      float[] expected = held.tensor().gather(chosen).toFloats();
      assertArrayEquals(expected, taken.tensor().toFloats());
      long copied = 2 * 4L * expected.length;
      assertTrue(bytes < 1.25 * copied, bytes + " of " + copied);
      // There is room for what follows, and it is this value's own.
      Tensor x = scope.full(DType.F32, Shape.of(4, 1, 2, 5), -1);
      Grown longer = taken.append(x);
      assertSame(taken.room(), longer.room());
      assertArrayEquals(x.toFloats(), longer.tensor().slice(1, 31, 1).toFloats());
      holds(scope, 31, held);
      Tensor far = scope.indices(Shape.of(2), 0, 3);
      var e = assertThrows(IllegalArgumentException.class, () -> held.sequences(far));
      assertEquals("sequences: 1 of them is 3, must be in [0, 3)", e.getMessage());
    }
  }

  @ParameterizedTest
  @MethodSource(DEVICES)
  void refusesWhatDoesNotFit(String name) {
    try (Device device = TestDevices.open(name);
        Scope scope = device.openUnrecorded()) {
      Grown held = Grown.of(rows(scope, 0, 2)).append(rows(scope, 2, 1));
      refused("append: x has shape [2, 1, 2, 5]", held, rows(scope, 3, 1).slice(0, 0, 2));
      refused("append: x has shape [3, 1, 10]", held, rows(scope, 3, 1).reshape(3, 1, 10));
      refused("append: x is F64, must be F32", held, rows(scope, 3, 1).cast(DType.F64));
      holds(scope, 3, held);
      Tensor row = scope.full(DType.F32, Shape.of(3), 1);
      assertThrows(IllegalArgumentException.class, () -> Grown.of(row));
      Grown gone;
      try (Scope inner = device.openUnrecorded()) {
        gone = Grown.of(rows(inner, 0, 2)).append(rows(inner, 2, 1));
      }
      Tensor x = rows(scope, 3, 1);
      String message = assertThrows(IllegalStateException.class, () -> gone.append(x)).getMessage();
      assertTrue(message.contains("which is closed"), message);
    }
  }

  private static void refused(String part, Grown held, Tensor x) {
    String message =
        assertThrows(IllegalArgumentException.class, () -> held.append(x)).getMessage();
    assertTrue(message.contains(part), message);
  }
}
