// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.nn.GruModel;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/** The CUDA kernels, run on the processor thread by thread, train as the CPU's do. */
class SimulatedCudaTest {
  private static final int STEPS = 4;

  /** Rounding differs, and AdamW's first steps magnify what differs. */
  private static final double CLOSE = 2e-3;

  @BeforeEach
  void needsTheSimulator() {
    assumeTrue(TestDevices.hasSimulatedCuda(), "the simulated CUDA library is not built");
  }

  /** What a few steps end in. */
  private record Ended(List<Double> losses, float[] parameters) {}

  private static Ended train(Device device, String net) {
    try (device;
        Store store = device.store()) {
      Parameters parameters = Parameters.of(store, Key.of(1));
      SequenceModel model =
          net.equals("gru")
              ? GruModel.create(parameters, CopyTask.VOCABULARY, 1, 12)
              : Transformer.create(parameters, CopyTask.VOCABULARY, 1, 16, 2);
      CopyTask task = new CopyTask(model, Key.of(2), 3, 3);
      List<Double> losses = new ArrayList<>();
      new Trainer(AdamW.usual(), new Schedule(3e-3, 0.05, 0.1), 1, STEPS)
          .run(store, task, budget(net), step -> losses.add(step.loss()));
      return new Ended(losses, store.get(store.names().iterator().next()).toFloats());
    }
  }

  /** FLOPs of a few steps. */
  private static long budget(String net) {
    return net.equals("gru") ? 900_000 : 1_500_000;
  }

  @ParameterizedTest
  @ValueSource(strings = {"transformer", "gru"})
  void trainsAsTheProcessorDoes(String net) {
    Ended cpu = train(TestDevices.open(TestDevices.builds().getLast()), net);
    Ended cuda = train(TestDevices.simulatedCuda(), net);
    assertTrue(cpu.losses().size() >= 2, cpu.losses().size() + " steps");
    assertEquals(cpu.losses().size(), cuda.losses().size());
    for (int i = 0; i < cpu.losses().size(); i++) {
      assertEquals(cpu.losses().get(i), cuda.losses().get(i), CLOSE, "loss of step " + i);
    }
    assertEquals(cpu.parameters().length, cuda.parameters().length);
    for (int i = 0; i < cpu.parameters().length; i++) {
      assertEquals(cpu.parameters()[i], cuda.parameters()[i], CLOSE, "parameter " + i);
    }
    assertArrayEquals(
        cuda.parameters(), train(TestDevices.simulatedCuda(), net).parameters(), "run to run");
  }

  @Test
  void anIndexOutsideItsRangeIsRefusedWhenTheResultIsRead() {
    try (Device device = TestDevices.simulatedCuda();
        Scope scope = device.open()) {
      Tensor table = scope.tensor(Shape.of(3, 2), 1f, 2f, 3f, 4f, 5f, 6f);
      Tensor taken = table.gather(scope.indices(Shape.of(2), 1, 3));
      String sentence = assertThrows(IllegalArgumentException.class, taken::toFloats).getMessage();
      assertTrue(sentence.contains("index[1] = 3 must lie in [0, 3)"), sentence);
      assertArrayEquals(new float[] {5, 6}, table.gather(scope.indices(Shape.of(1), 2)).toFloats());
    }
  }
}
