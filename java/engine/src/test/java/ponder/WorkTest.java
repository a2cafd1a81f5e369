// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

/** What each primitive counts: every input read once, every output written once. */
class WorkTest {
  private Device device;

  private void counts(long flops, long matrixFlops, long bytes, Runnable call) {
    Work start = device.meter().total();
    call.run();
    assertEquals(new Work(flops, matrixFlops, bytes), device.meter().since(start));
  }

  @Test
  void everyPrimitiveCountsItsWork() {
    try (Device opened = TestDevices.open(TestDevices.PLAIN);
        Scope scope = opened.open()) {
      device = opened;
      Tensor x = scope.full(DType.F32, Shape.of(3, 5), 2);
      Tensor wide = scope.full(DType.F64, Shape.of(3, 5), 2);
      Tensor row = scope.full(DType.F32, Shape.of(5), 2);
      Tensor index = scope.indices(Shape.of(2), 0, 2);
      counts(30, 0, 120, () -> x.affine(2, 1));
      counts(30, 0, 240, () -> wide.affine(2, 1));
      counts(15, 0, 120, x::exp);
      counts(15, 0, 120, x::log);
      counts(15, 0, 120, x::tanh);
      counts(45, 0, 120, x::sigmoid);
      long[] powers = {2, 1, 2, 0, 1, 0, 1, 2, 3};
      double[] exponents = {-2, -1, -0.5, 0, 0.5, 1, 2, 3, 2.5};
      for (int i = 0; i < powers.length; i++) {
        double p = exponents[i];
        counts(15 * powers[i], 0, 120, () -> x.power(p));
      }
      counts(15, 0, 180, () -> x.add(x));
      counts(15, 0, 140, () -> x.sub(row));
      counts(15, 0, 140, () -> row.mul(x));
      counts(15, 0, 140, () -> x.maximum(row));
      counts(10, 0, 80, () -> x.sum(0));
      counts(12, 0, 72, () -> x.largest(1));
      counts(14, 0, 64, x::sum);
      counts(0, 0, 80, () -> row.broadcast(0, 3));
      counts(0, 0, 0, () -> x.reshape(5, 3));
      counts(0, 0, 0, x::alias);
      counts(0, 0, 0, x::detach);
      counts(0, 0, 120, () -> x.swapAxes(0, 1));
      counts(0, 0, 48, () -> x.slice(1, 1, 2));
      counts(0, 0, 60 + 96, () -> x.pad(1, 1, 8));
      counts(0, 0, 240, () -> x.concat(x, 0));
      counts(0, 0, 8 + 80, () -> x.gather(index));
      Tensor two = x.slice(0, 0, 2);
      counts(10, 0, 40 + 8 + 140, () -> two.scatterAdd(index, 7));
      counts(0, 0, 8 + 32, () -> index.oneHot(DType.F32, 4));
      counts(2 * 3 * 5 * 3, 2 * 3 * 5 * 3, 60 + 60 + 36, () -> x.matmul(x, false, true));
      counts(2 * 5 * 3 * 5, 2 * 5 * 3 * 5, 60 + 60 + 100, () -> x.matmul(x, true, false));
      Tensor w = scope.full(DType.F32, Shape.of(5, 4), 2);
      Tensor y = scope.full(DType.F32, Shape.of(2, 3, 5), 2).matmul(w);
      // The derivative by a matrix that all rows share is one product, of all rows.
      counts(2 * 6 * 5 * 4, 2 * 6 * 5 * 4, 120 + 96 + 80, () -> Gradient.of(y, w));
    }
  }

  @Test
  void explicitRepeatingIsCounted() {
    try (Device opened = TestDevices.open(TestDevices.PLAIN);
        Scope scope = opened.open()) {
      device = opened;
      Tensor column = scope.full(DType.F32, Shape.of(3, 1), 2);
      Tensor row = scope.full(DType.F32, Shape.of(5), 2);
      // The column is written out to [3, 5] first: 12 bytes to 60.
      counts(15, 0, 72 + 140, () -> column.sub(row));
    }
  }

  @Test
  void workAddsUp() {
    Work w = new Work(5, 3, 7);
    assertEquals(new Work(6, 4, 8), w.plus(new Work(1, 1, 1)));
    assertEquals(Work.NONE, w.minus(w));
    assertEquals(new Work(15, 9, 21), w.times(3));
  }

  @Test
  void aBudgetIsSpentFromItsCreationOn() {
    try (Device opened = TestDevices.open(TestDevices.PLAIN);
        Scope scope = opened.open()) {
      Tensor x = scope.full(DType.F32, Shape.of(10), 2);
      x.exp();
      Budget budget = new Budget(opened.meter(), 40);
      Budget resumed = new Budget(opened.meter(), 40, 20);
      assertEquals(0, budget.share());
      assertEquals(0.5, resumed.share());
      x.scale(2);
      assertEquals(20, budget.spent());
      assertEquals(0.5, budget.share());
      assertFalse(budget.exhausted());
      assertTrue(resumed.exhausted());
      x.scale(2);
      assertTrue(budget.exhausted());
      x.exp();
      assertEquals(1.25, budget.share());
      budget.exempt(new Work(20, 0, 0));
      assertEquals(30, budget.spent());
      assertFalse(budget.exhausted());
    }
  }

  @Test
  void aRefusedCallCountsNothing() {
    try (Device opened = TestDevices.open(TestDevices.PLAIN);
        Scope scope = opened.open()) {
      Tensor x = scope.full(DType.F32, Shape.of(10), 2);
      Work before = opened.meter().total();
      try {
        x.add(scope.full(DType.F32, Shape.of(3), 2));
      } catch (IllegalArgumentException e) {
        assertEquals(before, opened.meter().total());
        return;
      }
      throw new AssertionError("not refused");
    }
  }
}
