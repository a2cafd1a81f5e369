// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.util.function.Function;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Store;
import ponder.TestDevices;
import ponder.nn.FeedbackTransformer;
import ponder.nn.Heads;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/**
 * A value that every statement may change is out of reach of a stack of layers, and within reach of
 * one layer that reads what it found at the step before.
 */
class ProgramTest {
  private static final long BUDGET = 600_000_000_000L;

  private static double known(Function<Parameters, SequenceModel> net, long seed) {
    try (Device device = TestDevices.open(TestDevices.builds().getLast());
        Store store = device.store()) {
      SequenceModel model = net.apply(Parameters.of(store, Key.of(seed)));
      ProgramTask task = new ProgramTask(model, Key.of(seed).split("data"), 32, 32);
      new Trainer(AdamW.usual(), new Schedule(8e-3, 0.05, 0.1), 1, 5)
          .run(store, task, BUDGET, step -> {});
      try (Scope scope = device.openUnrecorded()) {
        return task.known(scope);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3})
  void oneLayerWithFeedbackKnowsWhatTwoWithoutDoNot(long seed) {
    assumeFalse(
        TestDevices.builds().isEmpty(), "no library is built: the plain loops are too slow");
    int words = ProgramTask.VOCABULARY;
    double fed = known(p -> FeedbackTransformer.create(p, words, 1, 32, Heads.of(2)), seed);
    double stacked = known(p -> Transformer.create(p, words, 2, 32, 2), seed);
    assertTrue(fed >= stacked + 0.3, "%s with feedback, %s without".formatted(fed, stacked));
  }
}
