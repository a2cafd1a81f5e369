// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
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
import ponder.nn.GruModel;
import ponder.nn.LstmModel;
import ponder.nn.Parameters;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/** The CUDA kernels, run on the processor thread by thread, train as the CPU's do. */
class SimulatedCudaTest {
  private static final int STEPS = 4;

  /** In double, with what AdamW's first steps magnify: a slope of 1e-12 moves as far as one of 1. */
  private static final double CLOSE = 1e-8;

  @BeforeEach
  void needsTheSimulator() {
    assumeTrue(TestDevices.hasSimulatedCuda(), "the simulated CUDA library is not built");
  }

  /** What a few steps end in. */
  private record Ended(List<Double> losses, Map<String, double[]> parameters) {}

  private static Ended train(Device device, DType type, String net) {
    try (device;
        Store store = device.store()) {
      Parameters parameters = Parameters.of(store, type, Key.of(1));
      SequenceModel model =
          switch (net) {
            case "gru" -> GruModel.create(parameters, CopyTask.VOCABULARY, 1, 12);
            case "lstm" -> LstmModel.create(parameters, CopyTask.VOCABULARY, 1, 12);
            default -> Transformer.create(parameters, CopyTask.VOCABULARY, 1, 16, 2);
          };
      CopyTask task = new CopyTask(model, Key.of(2), 3, 3);
      List<Double> losses = new ArrayList<>();
      new Trainer(AdamW.usual(), new Schedule(3e-3, 0.05, 0.1), 1, STEPS)
          .run(store, task, budget(net), step -> losses.add(step.loss()));
      Map<String, double[]> ended = new LinkedHashMap<>();
      for (String name : store.names()) {
        if (store.get(name).dtype() == type) {
          ended.put(name, store.get(name).toDoubles());
        }
      }
      return new Ended(losses, ended);
    }
  }

  /** FLOPs of a few steps. */
  private static long budget(String net) {
    return switch (net) {
      case "gru" -> 900_000;
      case "lstm" -> 1_200_000;
      default -> 1_500_000;
    };
  }

  @ParameterizedTest
  @ValueSource(strings = {"transformer", "gru", "lstm"})
  void trainsAsTheProcessorDoes(String net) {
    Ended cpu = train(TestDevices.open(TestDevices.builds().getLast()), DType.F64, net);
    Ended cuda = train(TestDevices.simulatedCuda(), DType.F64, net);
    assertTrue(cpu.losses().size() >= 2, cpu.losses().size() + " steps");
    assertEquals(cpu.losses().size(), cuda.losses().size());
    for (int i = 0; i < cpu.losses().size(); i++) {
      assertEquals(cpu.losses().get(i), cuda.losses().get(i), CLOSE, "loss of step " + i);
    }
    assertEquals(cpu.parameters().keySet(), cuda.parameters().keySet());
    cpu.parameters()
        .forEach((name, end) -> assertArrayEquals(end, cuda.parameters().get(name), CLOSE, name));
  }

  @ParameterizedTest
  @ValueSource(strings = {"transformer", "gru", "lstm"})
  void trainsToTheSameBitsFromRunToRun(String net) {
    Ended once = train(TestDevices.simulatedCuda(), DType.F32, net);
    Ended again = train(TestDevices.simulatedCuda(), DType.F32, net);
    assertEquals(once.losses(), again.losses());
    assertEquals(once.parameters().keySet(), again.parameters().keySet());
    once.parameters()
        .forEach((name, end) -> assertArrayEquals(end, again.parameters().get(name), name));
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
