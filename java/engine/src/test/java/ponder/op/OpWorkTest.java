// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;
import ponder.DType;
import ponder.Device;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.Work;

/** What the fused ops count, against counting by hand. */
class OpWorkTest {
  private static Tensor ones(Scope scope, long... dims) {
    return scope.full(DType.F32, Shape.of(dims), 1);
  }

  /** Walks every query and key, as the header words visibility. */
  private static long visible(int[] lengths, int heads, int queries, int keys, boolean causal) {
    long pairs = 0;
    for (int length : lengths) {
      for (int i = 0; i < queries; i++) {
        for (int j = 0; j < keys; j++) {
          if (j < length && (!causal || j <= i + keys - queries)) pairs += heads;
        }
      }
    }
    return pairs;
  }

  @Test
  void attentionCountsThePairsThatSeeEachOther() {
    int heads = 3;
    int size = 8;
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      for (int[] steps : new int[][] {{1, 1}, {7, 7}, {3, 17}, {17, 3}, {7, 1}}) {
        int queries = steps[0];
        int keys = steps[1];
        for (boolean causal : new boolean[] {false, true}) {
          for (int[] lengths : new int[][] {null, {keys, keys}, {0, keys - 1}, {keys / 2, 1}}) {
            Tensor q = ones(scope, 2, queries, heads, size);
            Tensor k = ones(scope, 2, keys, heads, size);
            int[] seen = lengths == null ? new int[] {keys, keys} : lengths;
            long pairs = visible(seen, heads, queries, keys, causal);
            boolean padded = lengths != null;
            Attention op = new Attention(0.5, causal, false, padded);
            Tensor[] in =
                padded
                    ? new Tensor[] {q, k, k, scope.indices(Shape.of(2), lengths)}
                    : new Tensor[] {q, k, k};
            long rows = 2L * heads * queries;
            Work work = op.work(in);
            assertEquals(4 * pairs * size, work.matrixFlops());
            assertEquals((4 * size + 5) * pairs + (size + 2) * rows, work.flops());
            long elements = 2 * q.size() + 2 * k.size() + rows + (padded ? 2 : 0);
            assertEquals(4 * elements, work.bytes());
            assertEquals(10 * pairs * size, op.backwardWork(in).matrixFlops());
          }
        }
      }
    }
  }

  @Test
  void aMaskAddsItsSumAndItsBytes() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor q = ones(scope, 2, 5, 3, 4);
      Work plain = new Attention(1, false, false, false).work(q, q, q);
      Work masked = new Attention(1, false, true, false).work(q, q, q, ones(scope, 5, 5));
      assertEquals(new Work(2 * 3 * 25, 0, 100), masked.minus(plain));
    }
  }

  @Test
  void crossEntropyCountsTheRowsThatHaveATarget() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor x = ones(scope, 4, 3);
      Tensor weight = ones(scope, 7, 3);
      Tensor target = scope.indices(Shape.of(4), -1, 0, 6, -1);
      long bytes = 4 * (12 + 21 + 4 + 2 * 4);
      Work work = new CrossEntropy().work(x, weight, target);
      assertEquals(new Work(2 * (2 * 21 + 4 * 7 + 3), 2 * 2 * 21, bytes), work);
      Work backward = new CrossEntropy().backwardWork(x, weight, target);
      assertEquals(new Work(2 * (6 * 21 + 3 * 7 + 1), 2 * 6 * 21, bytes + 4 * (12 + 21)), backward);
    }
  }

  @Test
  void theGatedUnitCountsThreeProductsAStep() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      int batch = 2;
      int steps = 3;
      int width = 5;
      Tensor[] in = {
        ones(scope, batch, steps, 3, width),
        ones(scope, 3, width, width),
        ones(scope, 3, width),
        ones(scope, batch, width)
      };
      long units = (long) batch * steps * width;
      long products = 3L * 2 * units * width;
      Work work = new Gru().work(in);
      assertEquals(products, work.matrixFlops());
      assertEquals(products + 17 * units, work.flops());
      assertEquals(4 * (3 * units + 75 + 15 + 10 + units + 4 * units), work.bytes());
      assertEquals(2 * products, new Gru().backwardWork(in).matrixFlops());
    }
  }

  @Test
  void normsCountElementsAndRows() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor x = ones(scope, 2, 3, 5);
      Tensor row = ones(scope, 5);
      assertEquals(
          new Work(9 * 30 + 8 * 6, 0, 4 * (60 + 10 + 12)), new LayerNorm(1e-5).work(x, row, row));
      assertEquals(
          new Work(18 * 30 + 2 * 6, 0, 4 * (90 + 15 + 12)),
          new LayerNorm(1e-5).backwardWork(x, row, row));
      assertEquals(new Work(4 * 30 + 4 * 6, 0, 4 * (60 + 5 + 6)), new RmsNorm(0).work(x, row));
      assertEquals(
          new Work(12 * 30 + 6, 0, 4 * (90 + 10 + 6)), new RmsNorm(0).backwardWork(x, row));
    }
  }
}
