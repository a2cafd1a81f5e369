// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import org.junit.jupiter.api.Test;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Store;
import ponder.TestDevices;
import ponder.nn.Heads;
import ponder.nn.MemoryModel;
import ponder.nn.MemoryTokens;
import ponder.nn.Parameters;
import ponder.optim.AdamW;

/** What a memory is for: to recall what no window sees. */
class RecallTest {
  /** Attention sees two steps: whatever is recalled was read. Guessing costs log 8 = 2.08 nats. */
  @Test
  void aMemoryRecallsAndWithoutItAModelGuesses() {
    assumeFalse(
        TestDevices.builds().isEmpty(), "no library is built: the plain loops are too slow");
    try (Device device = TestDevices.open(TestDevices.builds().getLast());
        Store store = device.store()) {
      MemoryModel model =
          MemoryModel.create(
              Parameters.of(store, Key.of(1)),
              RecallTask.VOCABULARY,
              2,
              32,
              Heads.of(2).withWindow(2),
              4);
      RecallTask task = new RecallTask(model, Key.of(2), 32, 8);
      Trainer trainer = new Trainer(AdamW.usual(), new Schedule(6e-3, 0.05, 0.1), 1, 5);
      Trainer.Outcome outcome = trainer.run(store, task, 30_000_000_000L, step -> {});
      assertTrue(outcome.bestValidation() < 0.05, outcome.toString());
      try (Scope scope = device.openUnrecorded()) {
        double blind = task.validation(model.withoutReads(), scope);
        assertTrue(blind >= Math.log(RecallTask.LETTERS) - 0.1, blind + " nats without reads");
      }
    }
  }

  /** Each segment is half of a sequence: the letters asked for were all in the one before. */
  @Test
  void memoryTokensCarryPairsToTheNextSegment() {
    assumeFalse(
        TestDevices.builds().isEmpty(), "no library is built: the plain loops are too slow");
    try (Device device = TestDevices.open(TestDevices.builds().getLast());
        Store store = device.store()) {
      MemoryTokens model =
          MemoryTokens.create(
              Parameters.of(store, Key.of(1)), RecallTask.VOCABULARY, 2, 32, Heads.of(2), 4, 4);
      RecallTask task = new RecallTask(model, Key.of(2), 64, 2);
      Trainer trainer = new Trainer(AdamW.usual(), new Schedule(6e-3, 0.05, 0.1), 1, 5);
      Trainer.Outcome outcome = trainer.run(store, task, 100_000_000_000L, step -> {});
      assertTrue(outcome.bestValidation() < 0.5, outcome.toString());
      try (Scope scope = device.openUnrecorded()) {
        double blind = task.validation(model.withoutMemory(), scope);
        assertTrue(blind >= Math.log(RecallTask.LETTERS) - 0.1, blind + " nats without memory");
      }
    }
  }
}
