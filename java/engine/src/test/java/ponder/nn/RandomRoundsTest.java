// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.TestDevices;

/** How many rounds each step of a training makes. */
class RandomRoundsTest {
  private static final Key KEY = Key.of(11);

  private Device device;
  private Store store;
  private LoopedTransformer model;

  /** What a step makes. */
  private record Rounds(int blind, int live) {}

  @BeforeEach
  void open() {
    device = TestDevices.open(TestDevices.PLAIN);
    store = device.store();
    model = LoopedTransformer.create(Parameters.of(store, KEY), 5, 1, 4, 2, 1);
  }

  @AfterEach
  void close() {
    store.close();
    device.close();
  }

  private List<Rounds> rounds(RandomRounds random, int steps) {
    List<Rounds> all = new ArrayList<>();
    for (int step = 0; step < steps; step++) {
      LoopedTransformer of = random.of(model, step);
      all.add(new Rounds(of.blind(), of.rounds() - of.blind()));
    }
    return all;
  }

  @Test
  void theSameStepMakesTheSameRounds() {
    List<Rounds> once = rounds(new RandomRounds(8, 0.5, KEY), 300);
    RandomRounds again = new RandomRounds(8, 0.5, KEY);
    for (int step = 299; step >= 0; step--) {
      LoopedTransformer of = again.of(model, step);
      assertEquals(once.get(step), new Rounds(of.blind(), of.rounds() - of.blind()));
    }
    assertNotEquals(once, rounds(new RandomRounds(8, 0.5, Key.of(12)), 300));
  }

  @Test
  void everyStepDrawsItsOwn() {
    List<Rounds> all = rounds(new RandomRounds(10_000, 1, KEY), 500);
    // Of 500 pairs among so many, hardly two are equal by chance.
    assertTrue(new HashSet<>(all).size() > 490);
  }

  @Test
  void theWeightsAreTheModels() {
    LoopedTransformer of = new RandomRounds(8, 1, KEY).of(model, 0);
    assertEquals(model, of.withRounds(model.rounds()));
  }

  @Test
  void withoutProgressiveStepsEveryStepMakesAllRounds() {
    assertEquals(
        Set.of(new Rounds(0, 7)), new HashSet<>(rounds(new RandomRounds(7, 0, KEY), 1_000)));
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 2, 5})
  void progressiveStepsMakeEveryPairOfAtMostSoManyRounds(int most) {
    Set<Rounds> pairs = new HashSet<>();
    for (int blind = 0; blind < most; blind++) {
      for (int live = 1; blind + live <= most; live++) {
        pairs.add(new Rounds(blind, live));
      }
    }
    assertEquals(pairs, new HashSet<>(rounds(new RandomRounds(most, 1, KEY), 2_000)));
  }

  @ParameterizedTest
  @CsvSource({"4, 1", "4, 0.5", "3, 0.2", "1, 0.7"})
  void everyPairComesAsOftenAsStated(int most, double share) {
    int steps = 20_000;
    List<Rounds> all = rounds(new RandomRounds(most, share, KEY), steps);
    for (int blind = 0; blind < most; blind++) {
      for (int live = 1; blind + live <= most; live++) {
        double expected = share / (most * (most - blind)) + (live == most ? 1 - share : 0);
        Rounds pair = new Rounds(blind, live);
        double got = all.stream().filter(pair::equals).count() / (double) steps;
        double error = Math.sqrt(expected * (1 - expected) / steps);
        assertEquals(expected, got, 5 * error + 1e-12, pair.toString());
      }
    }
  }

  @Test
  void refusesNoRoundsAndWhatIsNoShare() {
    for (double share : new double[] {-0.1, 1.1, Double.NaN}) {
      String message =
          assertThrows(IllegalArgumentException.class, () -> new RandomRounds(3, share, KEY))
              .getMessage();
      assertTrue(message.contains(String.valueOf(share)), message);
    }
    assertThrows(IllegalArgumentException.class, () -> new RandomRounds(0, 0.5, KEY));
  }
}
