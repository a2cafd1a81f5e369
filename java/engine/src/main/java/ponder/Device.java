// SPDX-License-Identifier: Apache-2.0
package ponder;

import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import ponder.abi.Kernels;

/**
 * A processor with its memory and threads, or a CUDA device, through one library. Tensors live in
 * its scopes and stores. While a scope is open the device serves the thread that opened it and
 * refuses every other; with no scope open any thread may open one. Close it to give everything
 * back.
 */
public final class Device implements AutoCloseable {
  /**
   * What a device holds, in bytes.
   *
   * @param used held now: blocks in use, blocks kept for the next step, and kernels' scratch
   * @param peak the most ever held
   * @param limit the most it may hold
   * @param allocations how often memory was asked of the system; a step whose sizes were met
   *     before adds none
   */
  public record Memory(long used, long peak, long limit, long allocations) {}

  final Kernels kernels;
  final Pool pool;
  final Stage stage = new Stage(this, null);
  final int cudaIndex;
  boolean recording = true;

  /** Where the blocks of new scopes come from: the pool or, in a graph's step, the graph's own. */
  Pool scopePool;

  /** The graph whose step runs or is counted now, or null. */
  CudaGraph graph;

  /** Where to note tensors made during a walk backwards, or null. */
  List<Tensor> made;

  private final String name;
  private final Runnable closing;
  private final boolean poison;
  private final Arena arena = Arena.ofShared();
  private final Meter meter = new Meter();
  private final List<Store> stores = new ArrayList<>();
  private final List<CudaGraph> graphs = new ArrayList<>();
  private final Leak leak;
  private Staging staging;
  private Scope scope;
  private volatile Thread serving;
  private long serial;
  private volatile boolean open = true;

  /**
   * Makes a device over any kernels.
   *
   * @param build the kernels' name, such as {@code "cpu v4"}
   * @param closing what to run at the end
   * @param poison whether fresh memory is filled with NaN, which tests ask for
   * @param cudaIndex the CUDA device's number; -1 for a device of another kind
   */
  Device(Kernels kernels, String build, Runnable closing, boolean poison, int cudaIndex) {
    this.kernels = kernels;
    this.name = build + "@" + Integer.toHexString(System.identityHashCode(this));
    this.closing = closing;
    this.poison = poison;
    this.cudaIndex = cudaIndex;
    this.pool = new Pool(kernels, arena);
    this.scopePool = pool;
    this.leak = Leak.watch(this, "device " + name);
  }

  /** Opens the processor with one thread for each core this process may use. */
  public static Device cpu() {
    return cpu(0);
  }

  /**
   * Opens the processor.
   *
   * @param threads how many threads compute, the caller included; 0 for one per core
   */
  public static Device cpu(int threads) {
    return cpu(threads, 0);
  }

  /**
   * Opens the processor under a memory limit.
   *
   * @param threads how many threads compute, the caller included; 0 for one per core
   * @param memoryLimit the most bytes the device may hold; 0 for 80 % of the control group's or
   *     the machine's memory
   * @throws LibraryNotFoundException if there is no library for this machine
   * @throws IllegalArgumentException if an argument is negative or too large
   */
  public static Device cpu(int threads, long memoryLimit) {
    return Libraries.open(threads, memoryLimit);
  }

  /**
   * Opens a CUDA device.
   *
   * @param index its number, from 0
   * @throws LibraryNotFoundException if there is no CUDA library for this machine
   * @throws UnsupportedOperationException if this machine has no such device; the message says why
   */
  public static Device cuda(int index) {
    return cuda(index, 0);
  }

  /**
   * Opens a CUDA device under a memory limit.
   *
   * @param index its number, from 0
   * @param memoryLimit the most bytes of its memory to hold; 0 for 80 % of what is free
   * @throws LibraryNotFoundException if there is no CUDA library for this machine
   * @throws UnsupportedOperationException if this machine has no such device; the message says why
   */
  public static Device cuda(int index, long memoryLimit) {
    return Libraries.openCuda(index, memoryLimit);
  }

  /** Returns the device's name: its build, such as {@code cpu v4}, and a mark of its own. */
  public String name() {
    return name;
  }

  /** Returns how many threads compute, the caller included. */
  public int threads() {
    requireThread("threads");
    try (Arena cells = Arena.ofConfined()) {
      MemorySegment count = cells.allocate(JAVA_INT);
      kernels.threads(count);
      return count.get(JAVA_INT, 0);
    }
  }

  /** Returns what the device holds. */
  public Memory memory() {
    requireThread("memory");
    try (Arena cells = Arena.ofConfined()) {
      MemorySegment used = cells.allocate(JAVA_LONG);
      MemorySegment peak = cells.allocate(JAVA_LONG);
      MemorySegment limit = cells.allocate(JAVA_LONG);
      kernels.memory(used, peak, limit);
      return new Memory(
          used.get(JAVA_LONG, 0),
          peak.get(JAVA_LONG, 0),
          limit.get(JAVA_LONG, 0),
          pool.allocations());
    }
  }

  /** Returns the count of all work done on this device. */
  public Meter meter() {
    return meter;
  }

  /** Opens a scope inside the innermost open one, or the first; it records as that one does. */
  public Scope open() {
    return open(recording);
  }

  /**
   * Opens a scope in which nothing is recorded: results have no derivative and keep nothing of
   * what they were computed from alive. For evaluation and generation.
   */
  public Scope openUnrecorded() {
    return open(false);
  }

  private Scope open(boolean records) {
    return open(records, new Slab(this, "scope", Arena.ofConfined(), scopePool));
  }

  /** Opens a scope over memory. */
  synchronized Scope open(boolean records, Slab slab) {
    requireThread("open");
    serving = Thread.currentThread();
    scope = new Scope(this, scope, recording, slab);
    recording = records;
    return scope;
  }

  /**
   * Returns the innermost open scope, where results go.
   *
   * @throws IllegalStateException if no scope is open
   */
  public Scope scope() {
    requireThread("scope");
    return innermost("scope");
  }

  /** Makes a store on this device. */
  public Store store() {
    requireThread("store");
    requireUnrecorded("store");
    Store store = new Store(this);
    stores.add(store);
    return store;
  }

  /** Waits until everything asked of the device is done. */
  public void synchronize() {
    requireThread("synchronize");
    requireUnrecorded("synchronize");
    kernels.synchronize();
  }

  /**
   * Closes what is still open on the device, and the device. A second call has no effect.
   *
   * @throws WrongThreadException if another thread has open scopes
   */
  @Override
  public synchronized void close() {
    if (!open) {
      return;
    }
    requireThread("close");
    while (scope != null) {
      scope.close();
    }
    for (CudaGraph each : List.copyOf(graphs)) {
      each.close();
    }
    for (Store store : List.copyOf(stores)) {
      store.close();
    }
    open = false;
    leak.closed();
    try {
      pool.releaseFree();
    } catch (DeviceFailedException e) {
      // A failed device takes no block back; its context, closed below, gives all of them up.
    }
    if (staging != null) {
      staging.close();
    }
    arena.close();
    closing.run();
  }

  @Override
  public String toString() {
    return "device " + name;
  }

  /**
   * Runs an op: {@link Op#apply}.
   *
   * @param in kept on the tape: an array of its own, which nobody writes any more
   */
  static Tensor apply(Op op, Tensor[] in) {
    return run(op, in).value();
  }

  /** Runs an op as {@link Op#apply} says, and returns what it saved, too. */
  static Result run(Op op, Tensor[] in) {
    if (in.length == 0 || in[0] == null) {
      throw new IllegalArgumentException(nameOf(op) + ": input 0 is missing");
    }
    return in[0].home.device.compute(op, in);
  }

  private Result compute(Op op, Tensor[] in) {
    for (int i = 0; i < in.length; i++) {
      check(op, "input", i, in[i]);
    }
    if (scope == null) {
      innermost(nameOf(op));
    }
    long before = serial;
    Result result = op.forward(stage, in);
    Tensor y = result.value();
    if (y.home.device != this || y.serial < before || y.op != null) {
      throw new IllegalStateException(
          nameOf(op) + ": forward must return a tensor of its own from launch.output");
    }
    if (graph == null) {
      meter.add(op.work(in));
    } else {
      graph.count(() -> op.work(in));
    }
    if (recording) {
      y.op = op;
      y.inputs = in;
      y.result = op instanceof Op.Fused ? result : null;
    } else {
      y.inputs = Tensor.UNRECORDED;
    }
    return result;
  }

  /** Returns the op's name as a caller writes it, such as layerNorm. */
  static String nameOf(Object op) {
    String simple = op.getClass().getSimpleName();
    return simple.isEmpty()
        ? op.getClass().getName()
        : Character.toLowerCase(simple.charAt(0)) + simple.substring(1);
  }

  /** Returns the innermost open scope. */
  Scope innermost(String what) {
    if (scope == null) {
      requireThread(what);
      throw new IllegalStateException(
          what + ": " + this + " has no open scope for the result; open one with device.open()");
    }
    return scope;
  }

  boolean unusable(Tensor t) {
    return t == null
        || t.home.device != this
        || !t.home.isOpen()
        || t.isStale()
        || serving != Thread.currentThread();
  }

  /** Checks a tensor as below. This runs with every op: only a refusal makes strings. */
  void check(Object user, String argument, int place, Tensor t) {
    if (unusable(t)) {
      check(nameOf(user), argument + " " + place, t);
    }
  }

  /** Checks that a tensor can be used on this device, now, by this thread. */
  void check(String what, String argument, Tensor t) {
    if (t == null) {
      throw new IllegalArgumentException(what + ": " + argument + " is null");
    }
    if (t.home.device != this) {
      throw new IllegalArgumentException(
          "%s: %s, %s, is on %s, not on %s".formatted(what, argument, t, t.home.device, this));
    }
    requireThread(what);
    if (!t.home.isOpen()) {
      throw new IllegalStateException(
          "%s: %s, %s, belongs to %s, which is closed".formatted(what, argument, t, t.home.name()));
    }
    if (t.base.written == Tensor.GIVEN_BACK) {
      throw new IllegalStateException(
          "%s: %s, %s, was an intermediate value of Gradient.of".formatted(what, argument, t));
    }
    if (t.isStale()) {
      throw new IllegalStateException(
          "%s: %s, %s, shows a value of %s that has been replaced since; take it again"
              .formatted(what, argument, t, t.home.name()));
    }
  }

  /** Checks that the device is open and serves no other thread. */
  void requireThread(String what) {
    if (!open) {
      throw new IllegalStateException(what + ": " + this + " is closed");
    }
    Thread served = serving;
    Thread here = Thread.currentThread();
    if (served != null && served != here) {
      throw new WrongThreadException(
          "%s: %s serves thread %s, which has a scope open; this is thread %s"
              .formatted(what, this, served.getName(), here.getName()));
    }
  }

  /** Takes notice that the innermost scope was closed. */
  void left(Scope closed, Scope parent, boolean recordingBefore) {
    scope = parent;
    recording = recordingBefore;
    if (parent == null) {
      serving = null;
    }
  }

  void left(Store closed) {
    stores.remove(closed);
  }

  void entered(CudaGraph made) {
    graphs.add(made);
  }

  void left(CudaGraph closed) {
    graphs.remove(closed);
  }

  /** Takes notice that a call reads or writes the memory of a tensor. */
  void uses(Tensor t) {
    if (graph != null && graph.isRecording()) {
      graph.uses(t.home);
    }
  }

  /**
   * Takes notice that a value of a store has been written.
   *
   * @param known its elements if the host knows them, or null
   */
  void wrote(Tensor t, int[] known) {
    t.written = nextSerial();
    t.known = known;
    if (graph != null && graph.isRecording()) {
      graph.writes(t);
    }
  }

  /** Refuses what a graph cannot record. */
  void requireUnrecorded(String what) {
    if (graph != null && graph.isRecording()) {
      throw new IllegalStateException(
          what + ": not in a step while " + graph + " records it; before or after its run");
    }
  }

  long nextSerial() {
    return serial++;
  }

  boolean poisons() {
    return poison;
  }

  /** Copies from the memory of this machine to the device's, in pieces through one buffer. */
  synchronized void upload(MemorySegment to, MemorySegment array) {
    MemorySegment buffer = staging();
    for (long at = 0; at < array.byteSize(); at += Staging.BYTES) {
      long count = Math.min(Staging.BYTES, array.byteSize() - at);
      MemorySegment.copy(array, at, buffer, 0, count);
      kernels.upload(to.asSlice(at, count), buffer, count);
    }
  }

  /** Copies from the device's memory to that of this machine. */
  synchronized void download(MemorySegment array, MemorySegment from) {
    MemorySegment buffer = staging();
    for (long at = 0; at < array.byteSize(); at += Staging.BYTES) {
      long count = Math.min(Staging.BYTES, array.byteSize() - at);
      kernels.download(buffer, from.asSlice(at, count), count);
      MemorySegment.copy(buffer, 0, array, at, count);
    }
  }

  private MemorySegment staging() {
    if (staging == null) {
      staging = new Staging(arena, cudaIndex);
    }
    return staging.memory;
  }
}
