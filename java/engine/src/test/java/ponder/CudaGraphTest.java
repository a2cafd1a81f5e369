// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.op.CrossEntropy;

/** Graphs on simulated CUDA: bits, work, memory, and what is refused. */
class CudaGraphTest {
  private static final int ROWS = 5;
  private static final int WIDTH = 3;
  private static final int CLASSES = 4;

  private Device device;
  private Store store;

  @BeforeEach
  void open() {
    assumeTrue(TestDevices.hasSimulatedCuda(), "the simulated CUDA library is not built");
    device = TestDevices.simulatedCuda();
    store = device.store();
    try (Scope scope = device.open()) {
      store.add("x", scope.full(DType.F32, Shape.of(ROWS, WIDTH), 0));
      store.add("target", scope.indices(Shape.of(ROWS), new int[ROWS]));
      store.add("step", scope.indices(Shape.of(1), 0));
      float[] weight = Key.of(1).normalFloats(CLASSES * WIDTH);
      store.add("weight", scope.tensor(Shape.of(CLASSES, WIDTH), weight));
    }
  }

  @AfterEach
  void close() {
    if (device != null) {
      device.close();
    }
  }

  /** A loss, its gradient and a move, with targets to be ignored and half of x dropped. */
  private final class Descent implements Runnable {
    private Tensor loss;
    private Tensor gradient;
    private int times;

    @Override
    public void run() {
      times++;
      Tensor x = store.get("x");
      Tensor half = device.scope().full(DType.F32, Shape.scalar(), 0.5);
      Tensor noise = device.scope().uniform(DType.F32, x.shape(), Key.of(2), store.get("step"));
      Tensor weight = store.get("weight");
      // A view of the targets, and a scope inside.
      Tensor target = store.get("target").reshape(1, ROWS).reshape(ROWS);
      loss = CrossEntropy.crossEntropy(x.mul(noise.greater(half)), weight, target).sum();
      gradient = Gradient.of(loss, weight)[0];
      try (Scope inner = device.open()) {
        Tensor tenth = inner.full(DType.F32, Shape.scalar(), 0.1);
        store.replace("weight", weight.sub(gradient.mul(tenth)));
      }
    }
  }

  private void fill(int step) {
    Key key = Key.of(3).split(step);
    store.upload("x", key.normalFloats(ROWS * WIDTH));
    store.upload("step", step);
    int[] target = key.ints(ROWS, CLASSES);
    for (int i = 0; i < step % ROWS; i++) {
      target[i] = -1;
    }
    store.upload("target", target);
  }

  /** What a step left. */
  private record Left(float loss, List<Float> gradient, List<Float> weight, Work work) {}

  private Left left(Descent descent, Work before) {
    Work work = device.meter().since(before);
    return new Left(
        descent.loss.toFloats()[0], list(descent.gradient), list(store.get("weight")), work);
  }

  private static List<Float> list(Tensor t) {
    List<Float> values = new ArrayList<>();
    for (float v : t.toFloats()) {
      values.add(v);
    }
    return values;
  }

  private List<Left> single(int steps) {
    List<Left> all = new ArrayList<>();
    Descent descent = new Descent();
    for (int i = 0; i < steps; i++) {
      fill(i);
      Scope scope = device.open();
      Work before = device.meter().total();
      descent.run();
      all.add(left(descent, before));
      scope.close();
    }
    return all;
  }

  @Test
  void givesTheBitsAndTheWorkOfItsSteps() {
    List<Left> expected = single(25);
    assertTrue(expected.stream().map(l -> l.work).distinct().count() > 2, "work that varies");
    close();
    open();
    Descent descent = new Descent();
    List<Left> found = new ArrayList<>();
    long allocations = 0;
    try (CudaGraph graph = CudaGraph.of(device, descent)) {
      for (int i = 0; i < 25; i++) {
        fill(i);
        Work before = device.meter().total();
        graph.run();
        found.add(left(descent, before));
        if (i == 1) {
          allocations = device.memory().allocations();
        }
      }
      assertEquals(allocations, device.memory().allocations());
    }
    assertEquals(2, descent.times);
    assertEquals(expected, found);
  }

  /** What others compute between two launches goes elsewhere. */
  @Test
  void keepsItsMemory() {
    List<Left> expected = single(6);
    close();
    open();
    Descent descent = new Descent();
    List<Left> found = new ArrayList<>();
    try (CudaGraph graph = CudaGraph.of(device, descent)) {
      for (int i = 0; i < 6; i++) {
        try (Scope scope = device.open()) {
          for (int j = 0; j < 8; j++) {
            scope.full(DType.F32, Shape.of(16_000), Double.NaN);
          }
        }
        fill(i);
        Work before = device.meter().total();
        graph.run();
        try (Scope scope = device.open()) {
          for (int j = 0; j < 8; j++) {
            scope.full(DType.F32, Shape.of(16_000), Double.NaN);
          }
        }
        found.add(left(descent, before));
      }
    }
    // The graph's blocks come back with its end, and serve the next one.
    long allocations = device.memory().allocations();
    try (CudaGraph next = CudaGraph.of(device, new Descent())) {
      next.run();
      next.run();
    }
    assertEquals(allocations, device.memory().allocations());
    assertEquals(expected, found);
  }

  private void refused(String words, Runnable call) {
    String sentence = assertThrows(IllegalStateException.class, call::run).getMessage();
    assertTrue(sentence.contains(words), sentence);
  }

  @Test
  void refusesWhatAGraphCannotHoldAndStaysUsable() {
    List<Runnable> steps =
        List.of(
            () -> store.get("x").sum().item(),
            () -> store.get("x").toFloats(),
            () -> store.get("target").toInts(),
            () -> device.scope().tensor(Shape.of(1), 1f),
            () -> device.scope().indices(Shape.of(1), 1),
            () -> device.scope().uniform(DType.F32, Shape.of(1), Key.of(1)),
            () -> store.upload("step", 1),
            () -> store.add("y" + store.names().size(), store.get("x")),
            () -> device.store(),
            () -> device.synchronize());
    for (Runnable each : steps) {
      Runnable step =
          () -> {
            store.get("x").exp();
            each.run();
          };
      try (CudaGraph graph = CudaGraph.of(device, step)) {
        graph.run();
        refused("not in a step while " + graph + " records it", graph::run);
        graph.run();
      }
      try (Scope scope = device.open()) {
        assertEquals(2, scope.full(DType.F32, Shape.of(1), 1).affine(1, 1).item());
      }
    }
  }

  @Test
  void refusesWorkThatTheHostCannotCount() {
    try (Scope scope = device.open()) {
      store.replace("target", scope.full(DType.I32, Shape.of(ROWS), 1));
    }
    try (CudaGraph graph = CudaGraph.of(device, new Descent())) {
      graph.run();
      refused("whose elements the host does not know", graph::run);
      fill(0);
      graph.run();
      graph.run();
      try (Scope scope = device.open()) {
        store.replace("target", scope.full(DType.I32, Shape.of(ROWS), 1));
      }
      refused("whose elements the host does not know", graph::run);
      fill(0);
      graph.run();
    }
  }

  @Test
  void refusesWhatHasBeenClosed() {
    Descent descent = new Descent();
    CudaGraph graph = CudaGraph.of(device, descent);
    graph.run();
    graph.run();
    graph.close();
    graph.close();
    refused("run: " + graph + " is closed", graph::run);
    refused("which is closed", () -> descent.loss.item());

    Scope scope = device.open();
    Tensor outside = scope.full(DType.F32, Shape.of(2), 3);
    Tensor[] y = new Tensor[1];
    try (CudaGraph uses = CudaGraph.of(device, () -> y[0] = outside.affine(2, 0))) {
      uses.run();
      uses.run();
      assertArrayEquals(new float[] {6, 6}, y[0].toFloats());
      scope.close();
      refused("which is closed", uses::run);
    }

    Store other = device.store();
    try (Scope inner = device.open()) {
      other.add("v", inner.full(DType.F32, Shape.of(2), 1));
    }
    try (CudaGraph writes =
        CudaGraph.of(device, () -> other.replace("v", other.get("v").scale(2)))) {
      writes.run();
      writes.run();
      writes.run();
      assertArrayEquals(new float[] {8, 8}, other.get("v").toFloats());
      other.close();
      refused("which is closed", writes::run);
    }
  }

  /** Such a step only loses its own results. */
  @Test
  void survivesAStepThatClosesItsScope() {
    Runnable step =
        () -> {
          store.replace("x", store.get("x").affine(1, 1));
          device.scope().close();
        };
    try (CudaGraph graph = CudaGraph.of(device, step)) {
      for (int i = 0; i < 4; i++) {
        graph.run();
      }
    }
    assertEquals(4, store.get("x").toFloats()[0]);
  }

  /** Closing the device closes its graphs. */
  @Test
  void endsWithItsDevice() {
    Descent descent = new Descent();
    CudaGraph graph = CudaGraph.of(device, descent);
    graph.run();
    graph.run();
    device.close();
    refused("is closed", graph::run);
    graph.close();
  }

  @Test
  void isOfOneDeviceAndNotOfItself() {
    try (Device other = TestDevices.simulatedCuda();
        Scope scope = other.open()) {
      Tensor foreign = scope.full(DType.F32, Shape.of(ROWS, WIDTH), 1);
      try (CudaGraph graph = CudaGraph.of(device, () -> store.get("x").add(foreign))) {
        String sentence = assertThrows(IllegalArgumentException.class, graph::run).getMessage();
        assertTrue(sentence.contains("is on " + other), sentence);
      }
    }
    CudaGraph[] self = new CudaGraph[1];
    try (CudaGraph graph = CudaGraph.of(device, () -> self[0].run())) {
      self[0] = graph;
      refused("in a step of " + graph, graph::run);
    }
    try (CudaGraph graph = CudaGraph.of(device, () -> self[0].close())) {
      self[0] = graph;
      refused("in its own step", graph::run);
    }
  }

  /** What was computed from a former run's result has lost its derivative. */
  @Test
  void aLaunchIsAWrite() {
    Descent descent = new Descent();
    Scope scope = device.open();
    try (CudaGraph graph = CudaGraph.of(device, descent)) {
      graph.run();
      graph.run();
      Tensor y = descent.loss.exp();
      Gradient.of(y, descent.loss);
      graph.run();
      refused("before it was replaced", () -> Gradient.of(y, descent.loss));
      Tensor square = store.get("weight").mul(store.get("weight"));
      graph.run();
      refused("before it was replaced", () -> Gradient.of(square, store.get("weight")));
    }
    scope.close();
  }

  @Test
  void keepNeedsAScopeOfTheStep() {
    Scope scope = device.open();
    try (CudaGraph graph = CudaGraph.of(device, () -> device.scope().keep(store.get("x")))) {
      refused("no scope is around", graph::run);
    }
    scope.close();
  }

  @ParameterizedTest
  @MethodSource("ponder.TestDevices#names")
  void aProcessorHasNone(String name) {
    try (Device processor = TestDevices.open(name)) {
      assertFalse(CudaGraph.isSupportedBy(processor));
      assertThrows(UnsupportedOperationException.class, () -> CudaGraph.of(processor, () -> {}));
    }
  }
}
