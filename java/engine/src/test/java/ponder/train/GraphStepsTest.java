// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.Work;
import ponder.nn.GruModel;
import ponder.nn.LoopedTransformer;
import ponder.nn.LstmModel;
import ponder.nn.Parameters;
import ponder.nn.RandomRounds;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.op.CrossEntropy;
import ponder.optim.AdamW;
import ponder.optim.Optimiser;
import ponder.optim.Sgd;

/** Training by graphs, on simulated CUDA, is training step by step. */
class GraphStepsTest {
  private static final int STEPS = 24;
  private static final int WIDTH = 3;
  private static final int CLASSES = 4;

  @BeforeEach
  void needsTheSimulator() {
    assumeTrue(TestDevices.hasSimulatedCuda(), "the simulated CUDA library is not built");
  }

  /**
   * Rows to be classified, half of their numbers dropped: batches of changing lengths, numbers of
   * targets and weights, and a program that is applied once or twice.
   */
  private static final class Noisy implements BatchObjective<Integer> {
    private final Store store;
    private final int kinds;
    private final Set<List<Number>> seen = new HashSet<>();
    private int losses;
    private long poisoned = Long.MAX_VALUE;

    Noisy(Store store, int kinds) {
      this.store = store;
      this.kinds = kinds;
      try (Scope scope = store.device().open()) {
        float[] weight = Key.of(1).normalFloats(CLASSES * WIDTH);
        store.add("weight", scope.tensor(Shape.of(CLASSES, WIDTH), weight));
        store.add("gain", scope.full(DType.F32, Shape.of(WIDTH), 1));
      }
    }

    @Override
    public Batch<Integer> batch(long step) {
      Key key = Key.of(2).split(step);
      int kind = (int) (step % 5 % kinds);
      int rows = 3 + kind;
      int[] target = key.ints(rows, CLASSES);
      for (int i = 0; i < step % rows; i++) {
        target[i] = -1;
      }
      float[] x = key.normalFloats(rows * WIDTH);
      if (step == poisoned) {
        x[0] = Float.NaN;
      }
      int times = kinds == 1 ? 1 : 1 + (int) (step % 2);
      seen.add(List.of(rows, times));
      return Batch.of(times)
          .with(Shape.of(rows, WIDTH), x)
          .with(Shape.of(rows), target)
          .with(Shape.of(1), (int) step)
          .with(Shape.scalar(), (float) (1.0 / (rows - step % rows)));
    }

    @Override
    public Tensor loss(Integer times, Tensor... arrays) {
      losses++;
      Tensor x = arrays[0];
      Scope scope = x.device().scope();
      Tensor half = scope.full(DType.F32, Shape.scalar(), 0.5);
      for (int i = 0; i < times; i++) {
        Tensor noise = scope.uniform(DType.F32, x.shape(), Key.of(3).split(i), arrays[2]);
        x = x.mul(noise.greater(half)).mul(store.get("gain"));
      }
      return CrossEntropy.crossEntropy(x, store.get("weight"), arrays[1]).sum().mul(arrays[3]);
    }

    @Override
    public double validation(Scope scope) {
      return store.get("gain").sum().item();
    }
  }

  /** The same objective, of which nobody knows that it has batches. */
  private record Plain(Objective objective) implements Objective {
    @Override
    public Tensor loss(Scope scope, long step) {
      return objective.loss(scope, step);
    }

    @Override
    public double validation(Scope scope) {
      return objective.validation(scope);
    }
  }

  /** What a run came to, seconds aside. */
  private record Run(
      List<List<Number>> heard, Map<String, List<Float>> values, Work work, Work validation) {}

  private static Run run(Store store, Optimiser rule, Objective objective, long flops) {
    List<List<Number>> heard = new ArrayList<>();
    Trainer.Outcome outcome =
        new Trainer(rule, new Schedule(3e-2, 0.2, 0.1), 0.5, 6)
            .run(
                store,
                objective,
                flops,
                s -> heard.add(List.of(s.loss(), s.validation(), s.rate(), s.norm(), s.flops())));
    return new Run(heard, values(store), outcome.work(), outcome.validationWork());
  }

  private static Map<String, List<Float>> values(Store store) {
    Map<String, List<Float>> values = new TreeMap<>();
    for (String name : store.names()) {
      List<Float> all = new ArrayList<>();
      for (float v : store.get(name).toFloats()) {
        all.add(v);
      }
      values.put(name, all);
    }
    return values;
  }

  /** FLOPs of about that many steps. */
  private static final long FLOPS = STEPS * 1_100L;

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 5})
  void givesTheSameRun(int kinds) {
    for (Optimiser rule : List.of(AdamW.usual(), new Sgd(0.9, 0.01))) {
      Run plain;
      Run graphs;
      try (Device device = TestDevices.simulatedCuda();
          Store store = device.store()) {
        plain = run(store, rule, new Plain(new Noisy(store, kinds)), FLOPS);
      }
      try (Device device = TestDevices.simulatedCuda();
          Store store = device.store()) {
        Noisy objective = new Noisy(store, kinds);
        graphs = run(store, rule, objective, FLOPS);
        assertTrue(graphs.heard.size() >= 20, graphs.heard.size() + " steps");
        // One step of each kind is made, and one recorded; the others are launched.
        assertEquals(kinds == 1 ? 1 : 2 * kinds, objective.seen.size());
        assertEquals(2 * objective.seen.size(), objective.losses);
      }
      assertEquals(plain, graphs);
    }
  }

  /** Sequences to be copied by a net whose rounds are drawn for each step. */
  private record Nets(SequenceModel model) implements BatchObjective<SequenceModel> {
    private static final int MOST_ROUNDS = 2;

    static Nets of(String net, Store store) {
      Parameters parameters = Parameters.of(store, Key.of(1));
      int vocabulary = CopyTask.VOCABULARY;
      return new Nets(
          switch (net) {
            case "gru" -> GruModel.create(parameters, vocabulary, 1, 6);
            case "lstm" -> LstmModel.create(parameters, vocabulary, 1, 6);
            case "transformer" -> Transformer.create(parameters, vocabulary, 1, 8, 2);
            default -> LoopedTransformer.create(parameters, vocabulary, 1, 8, 2, MOST_ROUNDS);
          });
    }

    private CopyTask task(long step) {
      SequenceModel now =
          model instanceof LoopedTransformer looped
              ? new RandomRounds(MOST_ROUNDS, 0.7, Key.of(4)).of(looped, step)
              : model;
      return new CopyTask(now, Key.of(2), 2, 2);
    }

    @Override
    public Batch<SequenceModel> batch(long step) {
      return task(step).batch(step);
    }

    @Override
    public Tensor loss(SequenceModel now, Tensor... arrays) {
      return task(0).loss(now, arrays);
    }

    @Override
    public double validation(Scope scope) {
      return task(0).validation(scope);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"gru", "lstm", "transformer", "looped"})
  void givesTheSameNet(String net) {
    List<Run> runs = new ArrayList<>();
    for (boolean graphs : new boolean[] {false, true}) {
      try (Device device = TestDevices.simulatedCuda();
          Store store = device.store()) {
        Objective objective = Nets.of(net, store);
        objective = graphs ? objective : new Plain(objective);
        long flops =
            switch (net) {
              case "gru" -> 600_000;
              case "lstm" -> 750_000;
              default -> 1_500_000;
            };
        runs.add(run(store, AdamW.usual(), objective, flops));
      }
    }
    assertTrue(runs.get(0).heard.size() >= 10, runs.get(0).heard.size() + " steps");
    assertEquals(runs.get(0), runs.get(1));
  }

  /** Each kind keeps its memory; where there is no more, steps are made one by one. */
  @Test
  void goesOnWithoutGraphsWhereThereIsNoRoom() {
    Run plain;
    try (Device device = TestDevices.simulatedCuda();
        Store store = device.store()) {
      plain = run(store, AdamW.usual(), new Plain(new Noisy(store, 5)), FLOPS);
    }
    try (Device device = TestDevices.simulatedCuda(1 << 20);
        Store store = device.store()) {
      Noisy objective = new Noisy(store, 5);
      assertEquals(plain, run(store, AdamW.usual(), objective, FLOPS));
      assertTrue(objective.losses > 20, objective.losses + " losses");
    }
  }

  @Test
  void aStepWithoutAFiniteLossMovesNothing() {
    try (Device device = TestDevices.simulatedCuda();
        Store store = device.store();
        Store state = device.store()) {
      Noisy objective = new Noisy(store, 1);
      objective.poisoned = 7;
      AdamW.usual().prepare(store, state);
      Descent descent = new Descent(AdamW.usual(), 1, store, state);
      try (Steps steps = Steps.of(descent, objective)) {
        for (int i = 0; i < 7; i++) {
          steps.make(i, 1e-2);
        }
        Map<String, List<Float>> before = values(store);
        assertThrows(ArithmeticException.class, () -> steps.make(7, 1e-2));
        assertEquals(2, objective.losses);
        assertEquals(before, values(store));
        assertArrayEquals(new int[] {7}, state.get("step").toInts());
        steps.make(8, 1e-2);
      }
    }
  }

  /** A whole run leaves nothing behind on the device. */
  @Test
  void givesItsMemoryBack() {
    try (Device device = TestDevices.simulatedCuda();
        Store store = device.store()) {
      Noisy objective = new Noisy(store, 5);
      run(store, AdamW.usual(), objective, FLOPS);
      long allocations = device.memory().allocations();
      run(store, AdamW.usual(), objective, FLOPS);
      assertEquals(allocations, device.memory().allocations());
    }
  }
}
