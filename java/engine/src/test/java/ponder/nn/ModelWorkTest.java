// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.Work;
import ponder.op.Gelu;
import ponder.optim.AdamW;

/**
 * The meter against counts by hand: of a network of two products, two transformers, looped ones, two
 * recurrent models and one of fast weights, forward and with their gradient. By the rules of {@link
 * Work} a product of [r, k] and [k, c] is 2 r k c, and its gradient twice that.
 */
class ModelWorkTest {
  /** FLOPs, and the part of them in matrix products. */
  private record Count(long flops, long matrix) {
    Count plus(Count other) {
      return new Count(flops + other.flops, matrix + other.matrix);
    }

    Count times(long n) {
      return new Count(n * flops, n * matrix);
    }

    static Count product(long rows, long inner, long cols) {
      return new Count(2 * rows * inner * cols, 2 * rows * inner * cols);
    }

    static Count other(long flops) {
      return new Count(flops, 0);
    }
  }

  private static void check(Count expected, Work got) {
    assertEquals(expected, new Count(got.flops(), got.matrixFlops()));
  }

  /** gelu(x a) b with x [6, 5], a [5, 7], b [7, 3], counted in numbers. */
  @Test
  void aTwoLayerNetwork() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      Parameters parameters = Parameters.of(store, Key.of(1));
      Linear a = Linear.create(parameters.in("a"), 5, 7, 1);
      Linear b = Linear.create(parameters.in("b"), 7, 3, 1);
      Tensor x = scope.tensor(Shape.of(6, 5), Key.of(2).normalFloats(30));
      Work before = device.meter().total();
      Tensor y = b.apply(Gelu.gelu(a.apply(x)));
      // 2*6*5*7 = 420; 8*42 = 336; 2*6*7*3 = 252
      check(new Count(1008, 672), device.meter().since(before));
      Gradient.of(y, a.weight(), b.weight());
      // and by b 252, by gelu(..) 252, 16*42 = 672, by a 420; x needs none
      check(new Count(2604, 1596), device.meter().since(before));
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 5, 1, 8, 2, 11", "3, 7, 2, 12, 3, 17"})
  void aTransformer(long b, long t, int layers, long w, long heads, long v) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model =
          Transformer.create(Parameters.of(store, Key.of(1)), v, layers, w, heads);
      final long n = b * t;
      Count forward = transformer(b, t, 0, layers, w, heads).plus(loss(n, w, v));
      Count embeddingBack = Count.other(n * w);
      Count backward =
          lossBack(n, w, v)
              .plus(normBack(n, w))
              .plus(blockBack(b, t, w, heads).times(layers))
              .plus(embeddingBack);
      check(device, store, scope, model, b, t, v, forward, backward);
    }
  }

  /** By hand: the core in every round, the last state's product in every round but the first. */
  @ParameterizedTest
  @CsvSource({"2, 5, 1, 8, 2, 11, 2, 0", "3, 7, 2, 12, 3, 17, 5, 0", "3, 7, 2, 12, 3, 17, 5, 2"})
  void aLoopedTransformer(
      long b, long t, int layers, long w, long heads, long v, int rounds, int blind) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model =
          LoopedTransformer.create(Parameters.of(store, Key.of(1)), v, layers, w, heads, 1)
              .withRounds(blind, rounds - blind);
      final long n = b * t;
      final Count product = Count.product(n, w, w);
      final Count add = Count.other(n * w);
      Count forward =
          product // recall
              .plus(transformer(b, t, 0, layers, w, heads).times(rounds))
              .plus(product.plus(add).times(rounds - 1))
              .plus(loss(n, w, v));

      final long live = rounds - blind;
      final long begunByAState = blind > 0 ? live : live - 1;
      final long core = layers * (12 * w * w + 2 * w) + w;
      Count backward =
          lossBack(n, w, v)
              .plus(normBack(n, w).plus(blockBack(b, t, w, heads).times(layers)).times(live))
              .plus(product.times(begunByAState)) // by the weight
              .plus(product.times(live - 1)) // by the state, unless it is a blind round's
              .plus(product.times(2)) // recall
              .plus(add.times(live - 1)) // what each round recalls meets
              .plus(Count.other((live - 1) * core)) // the shared weights' derivatives meet
              .plus(Count.other((begunByAState - 1) * w * w))
              .plus(add); // embedding
      check(device, store, scope, model, b, t, v, forward, backward);
    }
  }

  private static Count normBack(long n, long w) {
    return Count.other(12 * n * w + n);
  }

  private static Count blockBack(long b, long t, long w, long heads) {
    final long n = b * t;
    final long pairs = pairs(b, t, 0, heads);
    final long size = w / heads;
    Count add = Count.other(n * w);
    Count rotary = Count.other(3 * n * w + 4 * t * (size / 2));
    Count attentionBack = new Count(10 * pairs * size + 5 * pairs + 4 * n * w, 10 * pairs * size);
    return Count.product(n, w, 4 * w)
        .times(4)
        .plus(Count.other(16 * n * 4 * w))
        .plus(normBack(n, w))
        .plus(add) // the residual path and the norm meet
        .plus(Count.product(n, w, w).times(8))
        .plus(attentionBack)
        .plus(rotary.times(2))
        .plus(add.times(2)) // query, key and value meet
        .plus(normBack(n, w))
        .plus(add);
  }

  /** Each head of each sequence: query i of t sees the keys before and i of the new ones. */
  private static long pairs(long b, long t, long past, long heads) {
    return b * heads * (t * past + t * (t + 1) / 2);
  }

  /** The hidden states of t steps after some past ones. */
  private static Count transformer(long b, long t, long past, int layers, long w, long heads) {
    final long n = b * t;
    final long pairs = pairs(b, t, past, heads);
    final long size = w / heads;
    Count norm = Count.other(4 * n * w + 4 * n);
    Count rotary = Count.other(3 * n * w + 4 * t * (size / 2));
    Count attention =
        new Count(4 * pairs * size + 5 * pairs + n * w + 2 * n * heads, 4 * pairs * size);
    Count add = Count.other(n * w);
    Count block =
        norm.plus(Count.product(n, w, w).times(4))
            .plus(rotary.times(2))
            .plus(attention)
            .plus(add)
            .plus(norm)
            .plus(Count.product(n, w, 4 * w).times(2))
            .plus(Count.other(8 * n * 4 * w))
            .plus(add);
    return block.times(layers).plus(norm);
  }

  @Test
  void aStepAfterAMemoryCostsNoSecondReading() {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model = Transformer.create(Parameters.of(store, Key.of(1)), 9, 2, 12, 3);
      int[] tokens = Nets.tokens(1, 4, 8, 9);
      Memory memory = model.read(Nets.columns(scope, tokens, 4, 0, 7), Memory.EMPTY).memory();
      Work before = device.meter().total();
      model.read(Nets.columns(scope, tokens, 4, 7, 8), memory);
      check(transformer(4, 1, 7, 2, 12, 3), device.meter().since(before));
    }
  }

  /** From step to step attention reads one more row of keys and values, and nothing else grows. */
  @Test
  void aStepThatIsNotRecordedDoesNotCopyThePast() {
    final int batch = 4;
    final int layers = 2;
    final int kvWidth = 8;
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.openUnrecorded()) {
      Heads heads = Heads.of(4).withKvHeads(2);
      SequenceModel model =
          Transformer.create(Parameters.of(store, Key.of(1)), 9, layers, 16, heads);
      int[] tokens = Nets.tokens(1, batch, 16, 9);
      Memory memory = model.read(Nets.columns(scope, tokens, batch, 0, 2), Memory.EMPTY).memory();
      long bytes = 0;
      for (int step = 2; step < 15; step++) {
        Work before = device.meter().total();
        Tensor column = Nets.columns(scope, tokens, batch, step, step + 1);
        memory = model.read(column, memory).memory();
        Work work = device.meter().since(before);
        if (step > 3) {
          assertEquals(4L * layers * 2 * batch * kvWidth, work.bytes() - bytes, "step " + step);
        }
        bytes = work.bytes();
      }
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 5, 1, 8, 11", "3, 7, 2, 12, 17"})
  void aGru(long b, long t, int layers, long w, long v) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model = GruModel.create(Parameters.of(store, Key.of(1)), v, layers, w);
      final long n = b * t;
      Count layer =
          Count.product(n, w, 3 * w)
              .plus(Count.other(3 * n * w)) // the bias
              .plus(Count.product(n, w, 3 * w))
              .plus(Count.other(17 * n * w));
      Count forward = layer.times(layers).plus(loss(n, w, v));

      Count layerBack =
          Count.product(n, w, 3 * w)
              .times(4)
              .plus(Count.other(21 * n * w))
              .plus(Count.other((n - 1) * 3 * w)) // the bias sums over the rows
              .plus(Count.other((b - 1) * w)); // the learned initial state over the batch
      Count embeddingBack = Count.other(n * w);
      Count backward = lossBack(n, w, v).plus(layerBack.times(layers)).plus(embeddingBack);
      check(device, store, scope, model, b, t, v, forward, backward);
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 5, 1, 8, 11", "3, 7, 2, 12, 17"})
  void anLstm(long b, long t, int layers, long w, long v) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model = LstmModel.create(Parameters.of(store, Key.of(1)), v, layers, w);
      final long n = b * t;
      Count layer = Count.product(n, w, 4 * w).times(2).plus(Count.other(23 * n * w));
      Count forward = layer.times(layers).plus(loss(n, w, v));

      Count layerBack =
          Count.product(n, w, 4 * w)
              .times(4)
              .plus(Count.other(28 * n * w))
              .plus(Count.other(2 * (b - 1) * w)); // both learned initial states over the batch
      Count embeddingBack = Count.other(n * w);
      Count backward = lossBack(n, w, v).plus(layerBack.times(layers)).plus(embeddingBack);
      check(device, store, scope, model, b, t, v, forward, backward);
    }
  }

  /** A block of the delta rule: per head a state of size^2 cells, which every step writes and reads. */
  @ParameterizedTest
  @CsvSource({"1, 5, 1, 8, 2, 11", "3, 7, 2, 12, 3, 17"})
  void aDeltaRule(long b, long t, int layers, long w, long heads, long v) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model =
          FastWeightsModel.create(
              Parameters.of(store, Key.of(1)), FastWeightsBlock.Rule.DELTA, v, layers, w, heads);
      final long n = b * t;
      final long cells = n * w * (w / heads);
      Count norm = Count.other(4 * n * w + 4 * n);
      Count ofHeads = Count.other(4 * n * w + 4 * n * heads);
      Count add = Count.other(n * w);
      Count scan = new Count(6 * cells + 3 * n * w, 6 * cells);
      Count block =
          norm.plus(Count.product(n, w, w).times(4))
              .plus(Count.product(n, w, heads))
              .plus(Count.other(3 * n * heads)) // the rates: exp, sum, quotient
              .plus(ofHeads.times(3)) // queries and keys of length 1, and what is read
              .plus(scan)
              .plus(add)
              .plus(norm)
              .plus(Count.product(n, w, 4 * w).times(2))
              .plus(Count.other(8 * n * 4 * w))
              .plus(add);
      Count forward = block.times(layers).plus(norm).plus(loss(n, w, v));

      Count backOfHeads = Count.other(12 * n * w + n * heads);
      // The products' adjoints, and the writes of states computed anew twice.
      Count scanBack = new Count(20 * cells + 9 * n * w, 20 * cells);
      Count layerBack =
          Count.product(n, w, 4 * w)
              .times(4)
              .plus(Count.other(16 * n * 4 * w))
              .plus(normBack(n, w))
              .plus(add)
              .plus(Count.product(n, w, w).times(8))
              .plus(backOfHeads.times(3))
              .plus(scanBack)
              .plus(Count.other(4 * n * heads)) // dy y (1 - y)
              .plus(Count.product(n, w, heads).times(2))
              .plus(add.times(3)) // query, key, value and rate meet
              .plus(normBack(n, w))
              .plus(add);
      Count embeddingBack = Count.other(n * w);
      Count backward =
          lossBack(n, w, v).plus(normBack(n, w)).plus(layerBack.times(layers)).plus(embeddingBack);
      check(device, store, scope, model, b, t, v, forward, backward);
    }
  }

  /** Steps one after another: no layer of the first step reads, the others all steps before. */
  @ParameterizedTest
  @CsvSource({"1, 5, 1, 8, 2, 11", "3, 7, 2, 12, 3, 17"})
  void aFeedbackTransformer(long b, long t, int layers, long w, long heads, long v) {
    try (Device device = TestDevices.open(TestDevices.PLAIN);
        Store store = device.store();
        Scope scope = device.open()) {
      SequenceModel model =
          FeedbackTransformer.create(
              Parameters.of(store, Key.of(1)), v, layers, w, Heads.of(heads));
      final long n = b * t;
      final long reading = b * (t - 1);
      final long pairs = b * heads * t * (t - 1) / 2;
      final long size = w / heads;
      Count share = Count.other(5 * (layers + 1) + 1);
      Count reads = new Count(pairs * (4 * size + 6) + reading * heads, pairs * 4 * size);
      Count layer =
          norm(reading, w)
              .plus(Count.product(reading, w, w).times(2))
              .plus(Count.other(3 * reading * w))
              .plus(reads)
              .plus(norm(n, w))
              .plus(Count.product(n, w, 4 * w).times(2))
              .plus(Count.other(8 * n * 4 * w));
      Count remember =
          Count.other(2 * (layers + 1) * n * w)
              .plus(norm(n, w))
              .plus(Count.product(n, w, w).times(2))
              .plus(Count.other(3 * n * w));
      Count angles = Count.other(4 * t * (size / 2));
      Count forward =
          share
              .plus(layer.times(layers))
              .plus(remember)
              .plus(angles)
              .plus(norm(n, w))
              .plus(loss(n, w, v));

      // Each step's layers but their last product once more, then the adjoints.
      Count readsBack = new Count(pairs * (12 * size + 11) + reading * heads, pairs * 12 * size);
      Count layerBack =
          norm(reading, w)
              .plus(normBack(reading, w))
              .plus(Count.product(reading, w, w).times(6))
              .plus(Count.other(6 * reading * w))
              .plus(readsBack)
              .plus(norm(n, w))
              .plus(normBack(n, w))
              .plus(Count.product(n, w, 4 * w).times(5))
              .plus(Count.other(24 * n * 4 * w));
      Count rememberBack =
          Count.other((layers + 1) * (2 * n * w + 2 * n * w + n + 3 * n * w))
              .plus(norm(n, w))
              .plus(normBack(n, w))
              .plus(Count.product(n, w, w).times(4))
              .plus(Count.other(3 * n * w));
      Count shareBack = Count.other(4 * (layers + 1));
      Count backward =
          lossBack(n, w, v)
              .plus(normBack(n, w))
              .plus(layerBack.times(layers))
              .plus(rememberBack)
              .plus(angles.times(2))
              .plus(shareBack)
              .plus(Count.other(n * w)); // the embedding
      check(device, store, scope, model, b, t, v, forward, backward);
    }
  }

  private static Count norm(long n, long w) {
    return Count.other(4 * n * w + 4 * n);
  }

  /** The output product with the cross-entropy, and the mean: n - 1 sums, then scale and shift. */
  private static Count loss(long n, long w, long v) {
    return Count.product(n, w, v).plus(Count.other(4 * n * v + 3 * n)).plus(Count.other(n + 1));
  }

  /** The product once more and its two gradients; the mean's scale of one number. */
  private static Count lossBack(long n, long w, long v) {
    return Count.product(n, w, v).times(3).plus(Count.other(3 * n * v + n)).plus(Count.other(2));
  }

  private static void check(
      Device device,
      Store store,
      Scope scope,
      SequenceModel model,
      long b,
      long t,
      long v,
      Count forward,
      Count backward) {
    int[] tokens = Nets.tokens(1, (int) b, (int) t + 1, (int) v);
    Tensor input = Nets.columns(scope, tokens, (int) b, 0, (int) t);
    Tensor targets = Nets.columns(scope, tokens, (int) b, 1, (int) t + 1);
    Tensor[] xs = store.names().stream().map(store::get).toArray(Tensor[]::new);
    Work before = device.meter().total();
    Tensor loss = model.losses(input, targets).mean();
    check(forward, device.meter().since(before));
    Tensor[] gradients = Gradient.of(loss, xs);
    check(forward.plus(backward), device.meter().since(before));
    try (Store state = device.store()) {
      AdamW rule = AdamW.usual();
      rule.prepare(store, state);
      Tensor one = scope.full(DType.F32, Shape.of(1), 1);
      rule.step(store, state, gradients, one, one);
    }
    Count optimiser = Count.other(15 * store.size());
    check(forward.plus(backward).plus(optimiser), device.meter().since(before));
  }
}
