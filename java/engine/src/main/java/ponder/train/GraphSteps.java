// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.util.HashMap;
import java.util.Map;
import ponder.CudaGraph;
import ponder.DType;
import ponder.Device;
import ponder.DeviceOutOfMemoryException;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;

/**
 * Steps as graphs: for each {@link Batch#kind} of step one graph up to the gradient and one that
 * moves the parameters, for the host looks at the loss between them. Beyond a number of kinds, and
 * where the device has no room for one more, steps are made one by one.
 */
final class GraphSteps<P> implements Steps {
  /** Each keeps the memory of a step. */
  static final int MOST_KINDS = 32;

  private final Descent descent;
  private final BatchObjective<P> objective;
  private final Device device;
  private final Map<Object, Graphs> kinds = new HashMap<>();
  private int most = MOST_KINDS;

  GraphSteps(Descent descent, BatchObjective<P> objective) {
    this.descent = descent;
    this.objective = objective;
    this.device = descent.parameters().device();
  }

  /** The graphs of one kind of step, and the store they read its batch and rate from. */
  private final class Graphs implements AutoCloseable {
    private static final String RATE = "rate";

    private final Store store = device.store();
    private final CudaGraph slopes;
    private final CudaGraph moves;
    private Descent.Slope slope;

    Graphs(Batch<P> batch) {
      try (Scope scope = device.open()) {
        batch.add(store, scope);
        String first = descent.parameters().names().iterator().next();
        DType type = descent.parameters().get(first).dtype();
        store.add(RATE, scope.full(type, Shape.of(1), 0));
      } catch (DeviceOutOfMemoryException e) {
        store.close();
        throw e;
      }
      P program = batch.program();
      Tensor[] arrays = batch.of(store);
      slopes = CudaGraph.of(device, () -> slope = descent.slope(objective.loss(program, arrays)));
      moves = CudaGraph.of(device, () -> descent.move(slope, store.get(RATE)));
    }

    void slope(Batch<P> batch) {
      batch.upload(store);
      slopes.run();
    }

    Descent.Measured move(long step, double rate) {
      Descent.Measured measured = Descent.measured(slope, step);
      descent.count();
      if (store.get(RATE).dtype() == DType.F32) {
        store.upload(RATE, (float) rate);
      } else {
        store.upload(RATE, rate);
      }
      moves.run();
      return measured;
    }

    @Override
    public void close() {
      moves.close();
      slopes.close();
      store.close();
    }
  }

  @Override
  public Descent.Measured make(long step, double rate) {
    Batch<P> batch = objective.batch(step);
    Graphs graphs = sloped(batch);
    if (graphs != null) {
      return graphs.move(step, rate);
    }
    try (Scope scope = device.open()) {
      return descent.step(objective.loss(batch.program(), batch.of(scope)), step, rate);
    }
  }

  /** Returns graphs that have come to the batch's gradient; null if there are none for it. */
  private Graphs sloped(Batch<P> batch) {
    Object kind = batch.kind();
    try {
      Graphs graphs = kinds.get(kind);
      if (graphs == null && kinds.size() < most) {
        graphs = new Graphs(batch);
        kinds.put(kind, graphs);
      }
      if (graphs != null) {
        graphs.slope(batch);
      }
      return graphs;
    } catch (DeviceOutOfMemoryException e) {
      // The memory that all the graphs keep may do for a step by itself.
      close();
      most = 0;
      return null;
    }
  }

  @Override
  public void close() {
    kinds.values().forEach(Graphs::close);
    kinds.clear();
  }
}
