// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import ponder.DType;
import ponder.Device;
import ponder.Key;
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

  /** Walks every query and key of one sequence, as the header words visibility. */
  private static boolean[][] visible(Attention op, int length, int queries, int keys) {
    boolean[][] sees = new boolean[queries][keys];
    boolean atLength = op.order() == Attention.Order.CAUSAL_AT_LENGTH;
    for (int i = 0; i < queries; i++) {
      long t = i + (atLength ? length : keys) - queries;
      for (int j = 0; j < length; j++) {
        boolean near = op.window() == 0 || j > t - op.window() && j < t + op.window();
        sees[i][j] = near && (op.order() == Attention.Order.FULL || j <= t);
      }
    }
    return sees;
  }

  private static long pairs(boolean[][] sees) {
    return Stream.of(sees).mapToLong(OpWorkTest::count).sum();
  }

  private static long keys(boolean[][] sees) {
    boolean[] any = new boolean[sees.length == 0 ? 0 : sees[0].length];
    for (boolean[] row : sees) for (int j = 0; j < row.length; j++) any[j] |= row[j];
    return count(any);
  }

  private static long count(boolean[] row) {
    long count = 0;
    for (boolean one : row) count += one ? 1 : 0;
    return count;
  }

  private static Attention attention(Attention.Order order, long window, boolean padded) {
    return new Attention(order, window, 0.5, false, false, padded, false);
  }

  @Test
  void attentionCountsThePairsThatSeeEachOther() {
    int heads = 6;
    int size = 8;
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      for (int[] steps : new int[][] {{1, 1}, {7, 7}, {3, 17}, {17, 3}, {7, 1}}) {
        int queries = steps[0];
        int keys = steps[1];
        Tensor q = ones(scope, 2, queries, heads, size);
        for (int kvHeads : new int[] {6, 2}) {
          Tensor k = ones(scope, 2, keys, kvHeads, size);
          for (Attention.Order order : Attention.Order.values()) {
            for (long window : new long[] {0, 1, 4}) {
              for (int[] lengths : new int[][] {null, {keys, keys}, {0, keys - 1}, {keys / 2, 1}}) {
                boolean padded = lengths != null;
                if (!padded && order == Attention.Order.CAUSAL_AT_LENGTH) continue;
                Attention op = attention(order, window, padded);
                long pairs = 0;
                long seen = 0;
                for (int b = 0; b < 2; b++) {
                  boolean[][] sees = visible(op, padded ? lengths[b] : keys, queries, keys);
                  pairs += heads * pairs(sees);
                  seen += keys(sees);
                }
                Tensor[] in =
                    padded
                        ? new Tensor[] {q, k, k, scope.indices(Shape.of(2), lengths)}
                        : new Tensor[] {q, k, k};
                long rows = 2L * heads * queries;
                Work work = op.work(in);
                assertEquals(4 * pairs * size, work.matrixFlops());
                assertEquals((4 * size + 5) * pairs + (size + 2) * rows, work.flops());
                long read = 2 * seen * kvHeads * size + (padded ? 2 : 0);
                assertEquals(4 * (2 * q.size() + read + rows), work.bytes());
                Work back = op.backwardWork(in);
                assertEquals(10 * pairs * size, back.matrixFlops());
                assertEquals((10 * size + 5) * pairs + 3 * size * rows + k.size(), back.flops());
                assertEquals(4 * (4 * q.size() + 2 * k.size() + read + rows), back.bytes());
              }
            }
          }
        }
      }
    }
  }

  @Test
  void packedAttentionCountsSequenceBySequence() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      int[] qStarts = {0, 3, 3, 8, 12};
      int[] kStarts = {0, 2, 9, 9, 17};
      Tensor q = ones(scope, 1, 12, 2, 4);
      Tensor k = ones(scope, 1, 17, 1, 4);
      for (long window : new long[] {0, 2}) {
        Attention one = attention(Attention.Order.CAUSAL, window, false);
        long pairs = 0;
        long seen = 0;
        for (int n = 0; n < 4; n++) {
          int keys = kStarts[n + 1] - kStarts[n];
          boolean[][] sees = visible(one, keys, qStarts[n + 1] - qStarts[n], keys);
          pairs += 2 * pairs(sees);
          seen += keys(sees);
        }
        Attention op = new Attention(one.order(), window, 0.5, false, false, false, true);
        Tensor[] in = {
          q, k, k, scope.indices(Shape.of(5), qStarts), scope.indices(Shape.of(5), kStarts)
        };
        assertEquals(16 * pairs, op.work(in).matrixFlops());
        assertEquals(4 * (2 * 96 + 2 * seen * 4 + 10 + 24), op.work(in).bytes());
      }
    }
  }

  @Test
  void masksAndGatesAddTheirOperationsAndBytes() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor q = ones(scope, 2, 5, 3, 4);
      Tensor mask = ones(scope, 5, 5);
      Attention plain = attention(Attention.Order.FULL, 0, false);
      Attention masked = new Attention(plain.order(), 0, 0.5, true, false, false, false);
      Attention gated = new Attention(plain.order(), 0, 0.5, false, true, false, false);
      long pairs = 2 * 3 * 25;
      Work work = plain.work(q, q, q);
      assertEquals(new Work(pairs, 0, 100), masked.work(q, q, q, mask).minus(work));
      assertEquals(new Work(2 * pairs, 0, 100), gated.work(q, q, q, mask).minus(work));
      Work back = plain.backwardWork(q, q, q);
      assertEquals(new Work(2 * pairs, 0, 200), masked.backwardWork(q, q, q, mask).minus(back));
      assertEquals(new Work(5 * pairs, 0, 200), gated.backwardWork(q, q, q, mask).minus(back));
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
      Work work = new Gru(false, false).work(in);
      assertEquals(products, work.matrixFlops());
      assertEquals(products + 17 * units, work.flops());
      assertEquals(4 * (3 * units + 75 + 15 + 10 + units + 4 * units), work.bytes());
      Work backward = new Gru(false, false).backwardWork(in);
      assertEquals(new Work(2 * products + 21 * units, 2 * products, backward.bytes()), backward);
      assertEquals(4 * (9 * units + 2 * 75 + 15 + 2 * 10), backward.bytes());

      // Three of the six steps run.
      Tensor[] bounded = {
        in[0],
        in[1],
        in[2],
        in[3],
        scope.indices(Shape.of(batch, steps), 0, 1, 0, 0, 0, 1),
        scope.indices(Shape.of(batch), 1, 2)
      };
      Work less = new Work(units / 2 * (3 * 2 * width + 17), units / 2 * 3 * 2 * width, 0);
      long saved = 4 * (3 * units / 2) - 4 * (6 + 2);
      assertEquals(
          work.minus(less).minus(new Work(0, 0, saved)), new Gru(true, true).work(bounded));
      less = new Work(units / 2 * (2 * 3 * 2 * width + 20), 2 * (units / 2 * 3 * 2 * width), 0);
      saved = 4 * (5 * units / 2) - 4 * (6 + 2);
      assertEquals(
          backward.minus(less).minus(new Work(0, 0, saved)),
          new Gru(true, true).backwardWork(bounded));

      // Of BF16, the bias is F32.
      for (int i : new int[] {0, 1, 3}) in[i] = in[i].cast(DType.BF16);
      long stated = 2 * (3 * units + 75 + 10 + 5 * units) + 4 * 15;
      assertEquals(stated, new Gru(false, false).work(in).bytes());
      stated = 2 * (9 * units + 2 * 75 + 2 * 10) + 4 * 15;
      assertEquals(stated, new Gru(false, false).backwardWork(in).bytes());
    }
  }

  @Test
  void theLongShortTermMemoryCountsFourProductsAStep() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      int width = 5;
      Tensor[] in = {
        ones(scope, 2, 3, 4, width),
        ones(scope, 4, width, width),
        ones(scope, 4, width),
        ones(scope, 2, width),
        ones(scope, 2, width),
        scope.indices(Shape.of(2), 3, 1)
      };
      // Four of the six steps run.
      long running = 4L * width;
      long units = 6L * width;
      long products = 4L * 2 * running * width;
      long bytes = 4 * (4 * running + 100 + 20 + 10 + 10 + 2 + 6 * units);
      Lstm op = new Lstm(false, true);
      assertEquals(new Work(products + 23 * running, products, bytes), op.work(in));
      bytes = 4 * (units + 6 * running + 100 + 10 + 10 + 2) + 4 * (4 * units + 100 + 20 + 20);
      assertEquals(
          new Work(2 * products + 27 * running + units, 2 * products, bytes), op.backwardWork(in));

      // Of BF16, the bias and the cells are F32.
      for (int i : new int[] {0, 1, 3}) in[i] = in[i].cast(DType.BF16);
      bytes = 2 * (4 * running + 100 + 10 + 5 * units) + 4 * (20 + 10 + 2 + units);
      assertEquals(bytes, op.work(in).bytes());
      bytes = 2 * (units + 5 * running + 100 + 10) + 4 * (running + 10 + 2);
      bytes += 2 * (4 * units + 100 + 10) + 4 * (20 + 10);
      assertEquals(bytes, op.backwardWork(in).bytes());
    }
  }

  @Test
  void aReadCountsScoresAndReads() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor q = ones(scope, 2, 3, 5);
      Tensor keys = ones(scope, 2, 7, 5);
      Tensor values = ones(scope, 2, 7, 4);
      var all = new TopKRead(6, -1, 1, false);
      // 42 scores of 5 products, 36 reads of 4 values.
      long products = 2 * 42 * 5 + 2 * 36 * 4;
      long read = 4 * (30 + 2 * 7 * 5 + 36 * 4);
      long written = 4 * (2 * 3 * (4 + 6) + 36);
      assertEquals(
          new Work(products + 2 * 42 + 4 * 36, products, read + written),
          all.work(q, keys, values));
      assertEquals(4 * 36 * (5 + 4), all.backwardWork(q, keys, values).matrixFlops());
      assertEquals(4 * 36 * 9 + 5 * 36, all.backwardWork(q, keys, values).flops());
      // 18 scores, 17 reads; 7 and 4 keys.
      var partly = new TopKRead(6, -1, 1, true);
      Tensor lengths = scope.indices(Shape.of(2, 3), 7, 2, 0, 4, 4, 1);
      products = 2 * 18 * 5 + 2 * 17 * 4;
      read = 4 * (30 + 11 * 5 + 17 * 4 + 6);
      assertEquals(
          new Work(products + 2 * 18 + 4 * 17, products, read + written),
          partly.work(q, keys, values, lengths));
      assertEquals(4 * 17 * 9, partly.backwardWork(q, keys, values, lengths).matrixFlops());
      // After one slot: 1, 2 and 3 of them.
      products = 2 * 12 * 5 + 2 * 12 * 4;
      assertEquals(products, new TopKRead(6, 1, 1, false).work(q, keys, values).matrixFlops());
    }
  }

  @Test
  void fastWeightsCountTheCellsOfTheirStates() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor keys = ones(scope, 2, 3, 4, 5);
      Tensor values = ones(scope, 2, 3, 4, 7);
      Tensor decay = ones(scope, 2, 3, 4, 1);
      Tensor rate = ones(scope, 2, 3, 4);
      // Of the rows' three steps one and three count.
      Tensor lengths = scope.indices(Shape.of(2), 1, 3);
      long tokens = (1 + 3) * 4;
      long cells = 5 * 7;
      FastWeights delta = FastWeights.delta(rate).decay(decay).lengths(lengths).op();
      Tensor[] in = {keys, keys, values, rate, decay, lengths};
      // The products S^T k, its write, S^T q; then the decay; rate (v - u) and the scale.
      long bytes = 4 * (2 * 120 + 168 + 24 + 24 + 2);
      assertEquals(
          new Work(
              tokens * (7 * cells + 3 * 7), tokens * 6 * cells, bytes + 4 * (168 + 2 * 4 * cells)),
          delta.work(in));
      assertEquals(tokens * (2 * 6 + 2 * 4) * cells, delta.backwardWork(in).matrixFlops());
      FastWeights means = FastWeights.plain().features().normalised().op();
      // One column more; the quotient and the scale; two sums and two exps per key.
      assertEquals(
          new Work(
              24 * (4 * 5 * 8 + 2 * 7 + 4 * 5),
              24 * 4 * 5 * 8,
              4 * (2 * 120 + 2 * 168 + 2 * 4 * 5 * 8)),
          means.work(keys, keys, values));

      // Of BF16, all but q, k, v and what is read is F32.
      for (int i = 0; i < 3; i++) in[i] = in[i].cast(DType.BF16);
      bytes = 2 * (2 * 120 + 168) + 4 * (24 + 24 + 2);
      assertEquals(bytes + 2 * 168 + 4 * 2 * 4 * cells, delta.work(in).bytes());
      assertEquals(2 * bytes - 4 * 2 + 2 * 168, delta.backwardWork(in).bytes());
    }
  }

  @Test
  void feedbackCountsWhatStepsReadOfThoseBefore() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      // Two layers, width 8, inner 5, two heads of 4 that share keys; two steps remembered.
      Tensor[] in = {
        ones(scope, 2, 3, 8),
        ones(scope, 2, 8),
        ones(scope, 2, 8, 2, 4),
        ones(scope, 2, 2, 4, 8),
        ones(scope, 2, 8),
        ones(scope, 2, 8, 5),
        ones(scope, 2, 5, 8),
        ones(scope, 3),
        ones(scope, 8),
        ones(scope, 8, 1, 4),
        ones(scope, 8, 1, 4),
        ones(scope, 2, 2, 1, 4),
        ones(scope, 2, 2, 1, 4)
      };
      Feedback op = new Feedback(2, 3, 1e-5, 10_000, true, false, false, false);
      // Three steps of two rows read 2, 3 and 3 positions, in two layers with two heads each.
      final long reads = (2 + 3 + 3) * 2 * 2 * 2;
      final long rows = 6;
      final long layerRows = 12;
      // wide and narrow; key and value; query and mix; q k and p v
      long products =
          layerRows * (2 * 2 * 8 * 5)
              + rows * (2 * 2 * 8 * 4)
              + layerRows * (2 * 2 * 8 * 8)
              + reads * 2 * 2 * 4;
      // the mixture of three states, its norm, k turned; norm, gelu; norm, q turned, two quotients
      long others = rows * (48 + 36 + 12) + layerRows * (36 + 8 * 5) + layerRows * (36 + 24 + 2);
      others += reads * 6 + 3 * 2 * 4; // and the angles of two pairs
      long inputs = 48 + 2 * 16 + 2 * 128 + 2 * 80 + 3 + 8 + 2 * 32 + 2 * 16;
      long found = rows * (3 * 8 + 2 * 4);
      assertEquals(new Work(products + others, products, 4 * (inputs + found)), op.work(in));
      // Anew: wide; query and mix; q k and p v. Then two adjoints of each, four of a read.
      products =
          layerRows * (5 * 2 * 8 * 5)
              + rows * (4 * 2 * 8 * 4)
              + layerRows * (6 * 2 * 8 * 8)
              + reads * 6 * 2 * 4;
      final long normBack = 12 * 8 + 1;
      others = rows * (48 + 36 + normBack + 12 + 3 * (8 * 2 + 1 + 8 * 3));
      others += layerRows * (36 + normBack + (8 + 16) * 5);
      others += layerRows * (36 + normBack + 2 * 24 + 2);
      others += reads * 11 + 3 * 2 * 8;
      long read = rows * 24 + found + inputs - 48;
      assertEquals(new Work(products + others, products, 4 * (read + inputs)), op.backwardWork(in));
      // The first step of all has nothing to read: in the second and third, one and two positions.
      var first = Feedback.of(1e-5, 10_000);
      Tensor[] alone = Arrays.copyOf(in, 11);
      assertEquals(
          layerRows * 160 + rows * 128 + 8 * 256 + 3 * 2 * 2 * 2 * 16,
          first.work(alone).matrixFlops());
      // The first sequence reads one step of the past, then, after a reset, nothing, then one; the
      // second ends after a step, which reads both.
      op = new Feedback(2, 3, 1e-5, 10_000, true, true, true, true);
      Tensor[] bounded = Arrays.copyOf(in, 16);
      bounded[13] = scope.indices(Shape.of(2), 1, 0);
      bounded[14] = scope.indices(Shape.of(2, 3), 0, 1, 0, 0, 1, 0);
      bounded[15] = scope.indices(Shape.of(2), 3, 1);
      products = 8 * 160 + 4 * 128 + 6 * 256 + (1 + 0 + 1 + 2) * 4 * 16;
      others = 4 * (48 + 36 + 12) + 8 * (36 + 8 * 5) + 6 * (36 + 24 + 2);
      others += (1 + 0 + 1 + 2) * 4 * 6 + 3 * 2 * 4;
      // x of four steps, three steps of the past, and ten numbers that tell.
      long told = 4 * 8 + inputs - 48 - 2 * 16 + 3 * 2 * 4 + 10;
      assertEquals(new Work(products + others, products, 4 * (told + found)), op.work(bounded));
      assertEquals(
          8 * 5 * 80 + 4 * 4 * 64 + 6 * 6 * 128 + 16 * 6 * 8,
          op.backwardWork(bounded).matrixFlops());
      // Written: the adjoints of all but what tells.
      assertEquals(4 * (4 * 24 + 4 * 32 + told - 4 * 8 + inputs), op.backwardWork(bounded).bytes());
    }
  }

  @Test
  void masksCountPositionsAndWhatIsChosen() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Scope scope = device.open()) {
      Tensor logits = ones(scope, 3, 20);
      Tensor tokens = scope.indices(Shape.of(3, 20), new int[60]);
      Tensor step = scope.indices(Shape.of(2), 1, 0);
      // 3 of 20 positions in each of 3 rows; two sets.
      long[] forward = {
        2 * 60, 11 * 60, 12 * 60 + 3 * 9, 11 * 60, 10 * 60 + 8 * 60 * 3, 6 * 60 + 2 * 120
      };
      long[] backward = {0, 11 * 60, 11 * 60 + 2 * 9, 12 * 60, 2 * 60, 8 * 60 + 3 * 120};
      for (Masking.Scheme scheme : Masking.Scheme.values()) {
        Masking op = Masking.of(scheme, Key.of(1), 10, 9).drawing(2, 0.5);
        int i = scheme.ordinal();
        // Read: logits, tokens, step; written: two floats and two ints a position, one a row.
        assertEquals(
            new Work(forward[i], 0, 4 * (2 * 60 + 2 + 4 * 60 + 3)), op.work(logits, tokens, step));
        assertEquals(
            new Work(backward[i], 0, 4 * (4 * 60 + 3 + 2)), op.backwardWork(logits, tokens, step));
      }
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
