// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.HashSet;
import java.util.Set;
import org.junit.jupiter.api.Test;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Store;
import ponder.Tensor;
import ponder.lab.cities.Cities;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.nn.LoopedTransformer;
import ponder.nn.Parameters;
import ponder.nn.RandomRounds;

/** What graphs compute of a step is what the step computes. */
class PathObjectiveTest {
  private static final Key KEY = Key.of(3);
  private static final PathTable TABLE =
      PathTable.of(
          CityGraph.of(
              Cities.embedded().subList(0, 40),
              CityGraph.EMBEDDED_RADIUS_KILOMETRES,
              CityGraph.Orientation.BOTH_WAYS));

  private static PathObjective objective(LoopedTransformer model) {
    RandomRounds rounds = new RandomRounds(3, 0.5, KEY);
    return new PathObjective(
        model,
        step -> rounds.of(model, step),
        TABLE,
        Split.named("ordered", TABLE, KEY, Split.Shares.USUAL),
        new PathTokens(40, false),
        KEY,
        4,
        8);
  }

  @Test
  void aBatchHasTheLossOfItsStep() {
    try (Device device = Device.cpu(1);
        Store store = device.store()) {
      LoopedTransformer model = LoopedTransformer.create(Parameters.of(store, KEY), 42, 1, 8, 2, 3);
      PathObjective whole = objective(model);
      PathObjective parts = objective(model);
      Set<Object> programs = new HashSet<>();
      for (int step = 0; step < 40; step++) {
        try (Scope scope = device.open()) {
          Tensor expected = whole.loss(scope, step);
          var batch = parts.batch(step);
          programs.add(batch.program());
          Tensor found = parts.loss(batch.program(), batch.of(scope));
          assertEquals(expected.item(), found.item(), "step " + step);
          assertArrayEquals(
              Gradient.of(expected, model.output())[0].toFloats(),
              Gradient.of(found, model.output())[0].toFloats(),
              "step " + step);
          assertArrayEquals(whole.position(), parts.position());
        }
      }
      // 3 rounds at most, of which 0, 1 or 2 are blind: six programs, the same model each time.
      assertTrue(programs.size() > 3 && programs.size() <= 6, programs.size() + " programs");
      assertThrows(IllegalArgumentException.class, () -> parts.batch(0));
    }
  }
}
