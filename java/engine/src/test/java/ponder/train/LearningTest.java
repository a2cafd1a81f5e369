// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.TestDevices;
import ponder.nn.GruModel;
import ponder.nn.LstmModel;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/** Training as a whole: it learns, and ends in the same bits again. */
class LearningTest {
  private enum Net {
    TRANSFORMER(12_000_000_000L) {
      @Override
      SequenceModel create(Parameters parameters, long width) {
        return Transformer.create(parameters, CopyTask.VOCABULARY, 2, width, 4);
      }
    },
    GRU(12_000_000_000L) {
      @Override
      SequenceModel create(Parameters parameters, long width) {
        return GruModel.create(parameters, CopyTask.VOCABULARY, 2, width);
      }
    },
    /** A third more work a step than a GRU's, and more steps until it copies. */
    LSTM(20_000_000_000L) {
      @Override
      SequenceModel create(Parameters parameters, long width) {
        return LstmModel.create(parameters, CopyTask.VOCABULARY, 2, width);
      }
    };

    /** The training FLOPs in which it learns to copy. */
    private final long flops;

    Net(long flops) {
      this.flops = flops;
    }

    abstract SequenceModel create(Parameters parameters, long width);
  }

  @BeforeEach
  void needsALibrary() {
    assumeFalse(
        TestDevices.builds().isEmpty(), "no library is built: the plain loops are too slow");
  }

  /** Guessing costs log 10 = 2.3 nats a letter. */
  @ParameterizedTest
  @EnumSource(Net.class)
  void copiesWhatItHasRead(Net net) {
    boolean attends = net == Net.TRANSFORMER;
    try (Device device = TestDevices.open(TestDevices.builds().getLast());
        Store store = device.store()) {
      SequenceModel model = net.create(Parameters.of(store, Key.of(1)), attends ? 32 : 48);
      CopyTask task = new CopyTask(model, Key.of(2), 32, attends ? 5 : 3);
      Trainer trainer = new Trainer(AdamW.usual(), new Schedule(6e-3, 0.05, 0.1), 1, 5);
      List<Double> losses = new ArrayList<>();
      Trainer.Outcome outcome =
          trainer.run(store, task, net.flops, step -> losses.add(step.loss()));
      assertTrue(losses.get(0) > 2, losses.get(0) + " before the first step");
      assertTrue(outcome.bestValidation() < 0.01, outcome.toString());
    }
  }

  /**
   * Returns what a short run ends in: the loss of every step and every parameter.
   *
   * @param width of the model; together with the letters to copy it decides how large products are
   */
  private static List<Object> result(
      Net net, String build, int threads, long seed, long width, int length, long flops) {
    try (Device device = TestDevices.open(build, threads, 0);
        Store store = device.store()) {
      SequenceModel model = net.create(Parameters.of(store, Key.of(seed)), width);
      CopyTask task = new CopyTask(model, Key.of(seed).split("data"), 24, length);
      Trainer trainer = new Trainer(AdamW.usual(), new Schedule(3e-3, 0.1, 0.1), 1, 3);
      List<Object> result = new ArrayList<>();
      trainer.run(store, task, flops, s -> result.add(s.loss()));
      assertTrue(result.size() >= 3, result.size() + " steps");
      for (String name : store.names()) {
        for (float value : store.get(name).toFloats()) {
          result.add(value);
        }
      }
      return result;
    }
  }

  @ParameterizedTest
  @EnumSource(Net.class)
  void endsInTheSameBitsOnOneAndTwoThreads(Net net) {
    String build = TestDevices.builds().getLast();
    List<Object> once = result(net, build, 1, 5, 64, 17, 4_000_000_000L);
    assertEquals(once, result(net, build, 1, 5, 64, 17, 4_000_000_000L));
    assertEquals(once, result(net, build, 2, 5, 64, 17, 4_000_000_000L));
    assertNotEquals(once, result(net, build, 1, 6, 64, 17, 4_000_000_000L));
  }

  @ParameterizedTest
  @EnumSource(Net.class)
  void endsInTheSameBitsOnEveryBuild(Net net) {
    List<List<Object>> results = new ArrayList<>();
    for (String build : TestDevices.builds()) {
      results.add(result(net, build, 1, 7, 16, 5, 50_000_000));
      assertEquals(results.get(0), results.getLast(), build);
    }
  }
}
