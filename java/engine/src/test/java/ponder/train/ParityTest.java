// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Store;
import ponder.TestDevices;
import ponder.nn.FastWeightsBlock.Rule;
import ponder.nn.FastWeightsModel;
import ponder.nn.Parameters;
import ponder.optim.AdamW;

/**
 * Counting ones by twos: rates in (0, 1), with which a state can only shrink, do not learn it, and
 * rates in (0, 2), with which it may turn around, do. Source: Grazzi et al., arXiv:2411.12537.
 */
class ParityTest {
  private static final double GUESSED = Math.log(2);

  /** Returns the losses at the length learned and at four times that, in nats a bit. */
  private static double[] losses(boolean reflecting, long seed) {
    try (Device device = TestDevices.open(TestDevices.builds().getLast());
        Store store = device.store()) {
      Parameters p = Parameters.of(store, Key.of(seed));
      var model = FastWeightsModel.create(p, Rule.DELTA, ParityTask.VOCABULARY, 1, 16, 2);
      if (reflecting) model = model.reflecting();
      ParityTask task = new ParityTask(model, Key.of(seed).split("data"), 32, 24);
      Trainer trainer = new Trainer(AdamW.usual(), new Schedule(1e-2, 0.05, 0.1), 1, 5);
      trainer.run(store, task, 4_000_000_000L, step -> {});
      try (Scope scope = device.openUnrecorded()) {
        return new double[] {task.validation(scope, 24), task.validation(scope, 96)};
      }
    }
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3})
  void statesThatTurnAroundCountAndOthersGuess(long seed) {
    assumeFalse(
        TestDevices.builds().isEmpty(), "no library is built: the plain loops are too slow");
    double[] turning = losses(true, seed);
    double[] shrinking = losses(false, seed);
    assertTrue(turning[0] < 0.01, turning[0] + " nats with states that turn around");
    assertTrue(turning[1] < 0.5 * GUESSED, turning[1] + " nats of them at four times the length");
    assertTrue(shrinking[0] > 0.75 * GUESSED, shrinking[0] + " nats with states that shrink");
    assertTrue(shrinking[1] > 0.9 * GUESSED, shrinking[1] + " of them at four times the length");
  }
}
