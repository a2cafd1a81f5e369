// SPDX-License-Identifier: Apache-2.0
package ponder;

import static java.lang.foreign.ValueLayout.ADDRESS;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Supplier;

/**
 * A step that a CUDA device does again and again, as one graph. The first {@link #run} makes the
 * step's calls one by one; the second records them and launches the record, and so does every later
 * one, without a line of the step's Java. The results have the same bits either way, and the {@link
 * Meter} counts the same work.
 *
 * <pre>{@code
 * Store in = device.store();                             // in.add("x", ...), in.add("rate", ...)
 * Tensor[] out = new Tensor[1];
 * try (CudaGraph step = CudaGraph.of(device, () -> out[0] = model.loss(in.get("x")))) {
 *   for (float[] x : batches) {
 *     in.upload("x", x);
 *     step.run();
 *     double loss = out[0].item();
 *   }
 * }
 * }</pre>
 *
 * <p><b>What may differ</b> from run to run is what stands in stores: data, the rate, the number of
 * the step. The step reads it on the device, at the addresses that a store's values keep. Numbers
 * and shapes that the step has from Java are those of the second run for good: a step of other
 * shapes, or of another depth, is another graph. For random numbers there is {@link
 * Scope#uniform(DType, Shape, Key, Tensor)}.
 *
 * <p><b>Memory.</b> The step runs in a scope of the graph's own, whose blocks, and those of every
 * scope opened inside it, belong to the graph until it is closed: the first run gets them, the
 * second asks for the same ones in the same order, and nobody else is ever given them. What the
 * step makes can be used until the next run, which writes it anew; after the second run the tensors
 * stay the same. What the step uses of other scopes and stores must be open at every run.
 *
 * <p><b>Refused</b> while the step is recorded, with a sentence: reading values ({@code item},
 * {@code toFloats}, ...), making tensors from arrays, adding to stores. A part of a training that
 * needs a value in its middle is two graphs, the second of which uses what the first one made.
 *
 * <p><b>Work</b> that depends on shapes alone is counted once and added by every launch. That of
 * ops which cost as much as some index array says (targets to be ignored, lengths) is counted anew
 * for every launch, from the values that the host gave to {@link Store#upload} or {@link
 * Scope#indices}; where it does not know them the step is refused.
 */
public final class CudaGraph implements AutoCloseable {
  private final Device device;
  private final Runnable step;
  private final Pool blocks;
  private final Leak leak;
  private final long number;
  private final Set<Slab> used = new HashSet<>();
  private final Set<Tensor> written = new HashSet<>();
  private final List<Supplier<Work>> varying = new ArrayList<>();
  private Work fixed = Work.NONE;
  private Slab slab;
  private MemorySegment program;
  private boolean recording;
  private boolean counting;
  private boolean reads;
  private boolean open = true;

  private CudaGraph(Device device, Runnable step) {
    this.device = device;
    this.step = step;
    this.blocks = new Pool(device.pool);
    this.number = device.nextSerial();
    this.leak = Leak.watch(this, toString());
  }

  /** Returns whether a device has graphs: CUDA devices do. */
  public static boolean isSupportedBy(Device device) {
    device.requireThread("graph");
    try (Arena cells = Arena.ofConfined()) {
      MemorySegment stream = cells.allocate(ADDRESS);
      device.kernels.stream(stream);
      return stream.get(ADDRESS, 0).address() != 0;
    }
  }

  /**
   * Makes a graph, which has done nothing yet.
   *
   * @param step makes the calls; it is run twice, by the first two runs of the graph
   * @throws UnsupportedOperationException if the device has no graphs
   */
  public static CudaGraph of(Device device, Runnable step) {
    if (!isSupportedBy(device)) {
      throw new UnsupportedOperationException(
          "graph: " + device + " has none; a call costs a processor next to nothing");
    }
    CudaGraph graph = new CudaGraph(device, step);
    device.entered(graph);
    return graph;
  }

  /**
   * Does the step once.
   *
   * @throws IllegalStateException if the graph is closed or runs already, if the step does what a
   *     graph cannot, or if something the step uses has been closed
   * @throws DeviceOutOfMemoryException if there is no room for the step's memory
   */
  public void run() {
    device.requireThread("run of " + this);
    if (!open) {
      throw new IllegalStateException("run: " + this + " is closed");
    }
    if (device.graph != null) {
      throw new IllegalStateException("run: " + this + " in a step of " + device.graph);
    }
    if (slab == null) {
      execute();
      return;
    }
    if (program == null) {
      record();
    }
    launch();
  }

  /** Makes the step's calls in fresh memory. */
  private void execute() {
    Slab fresh = new Slab(device, "graph", Arena.ofShared(), blocks);
    device.graph = this;
    device.scopePool = blocks;
    Scope scope = device.open(device.recording, fresh);
    try {
      step.run();
      slab = fresh;
    } finally {
      if (fresh.isOpen()) {
        scope.leave();
      }
      device.graph = null;
      device.scopePool = device.pool;
      if (slab != fresh) {
        fresh.close();
      }
    }
  }

  private void record() {
    // The second run finds the blocks of the first.
    slab.close();
    slab = null;
    forget();
    device.kernels.record();
    recording = true;
    try {
      execute();
    } catch (RuntimeException | Error e) {
      try {
        release(recorded());
      } catch (RuntimeException failed) {
        e.addSuppressed(failed);
      }
      throw e;
    } finally {
      recording = false;
    }
    program = recorded();
  }

  private MemorySegment recorded() {
    try (Arena cells = Arena.ofConfined()) {
      MemorySegment cell = cells.allocate(ADDRESS);
      device.kernels.recorded(cell);
      return cell.get(ADDRESS, 0);
    }
  }

  private void launch() {
    for (Slab each : used) {
      if (!each.isOpen()) {
        throw new IllegalStateException(
            "run: the step of " + this + " uses " + each.name() + ", which is closed");
      }
    }
    Work work = fixed.plus(varying());
    device.kernels.launch(program);
    device.meter().add(work);
    slab.written = device.nextSerial();
    for (Tensor t : written) {
      device.wrote(t, null);
    }
  }

  // ---- what the device tells it, and asks ---------------------------------------------------

  boolean isRecording() {
    return recording;
  }

  boolean isCounting() {
    return counting;
  }

  void uses(Slab other) {
    if (other.pool != blocks) {
      used.add(other);
    }
  }

  void writes(Tensor value) {
    uses(value.home);
    written.add(value);
  }

  /** Counts a call of the step: now or, if it is only recorded, with each launch. */
  void count(Supplier<Work> work) {
    if (!recording) {
      device.meter().add(work.get());
      return;
    }
    counting = true;
    reads = false;
    try {
      Work now = work.get();
      if (reads) {
        varying.add(work);
      } else {
        fixed = fixed.plus(now);
      }
    } finally {
      counting = false;
    }
  }

  /** Returns the work of the calls that cost as much as the values now in the stores say. */
  private Work varying() {
    Work sum = Work.NONE;
    device.graph = this;
    counting = true;
    try {
      for (Supplier<Work> work : varying) {
        sum = sum.plus(work.get());
      }
    } finally {
      counting = false;
      device.graph = null;
    }
    return sum;
  }

  /** Returns the elements of a tensor that a call's work depends on. */
  int[] values(Tensor t) {
    reads = true;
    if (t.base.known == null) {
      throw new IllegalStateException(
          "%s: the work of its step depends on %s of %s, whose elements the host does not know"
              .formatted(this, t, t.home.name()));
    }
    return t.base.known.clone();
  }

  // ---- the end ----------------------------------------------------------------------------

  private void forget() {
    used.clear();
    written.clear();
    varying.clear();
    fixed = Work.NONE;
  }

  private void release(MemorySegment recorded) {
    try {
      device.kernels.releaseGraph(recorded);
    } catch (DeviceFailedException e) {
      // A failed device takes nothing back; its context gives all of it up.
    }
  }

  /**
   * Gives the graph and its memory back; what the step made cannot be used any more. A second call
   * has no effect.
   */
  @Override
  public void close() {
    if (!open) {
      return;
    }
    device.requireThread("close of " + this);
    if (device.graph == this) {
      throw new IllegalStateException("close: " + this + " in its own step");
    }
    open = false;
    leak.closed();
    if (program != null) {
      release(program);
    }
    if (slab != null) {
      slab.close();
    }
    blocks.drain();
    forget();
    device.left(this);
  }

  @Override
  public String toString() {
    return "graph " + number + " of " + device;
  }
}
