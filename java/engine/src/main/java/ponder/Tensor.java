// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.MemorySegment;
import java.util.Objects;

/**
 * An immutable array of numbers on a device, row-major, with the op and the inputs that made it.
 * It lives in a scope or a store and is not closed by hand.
 *
 * <p>Methods of two tensors take b as NumPy would broadcast it: shapes are aligned at their last
 * axes, and an axis of size 1 or a missing one is repeated. Wherever an axis is asked for, it may
 * be counted from the end: -1 is the last.
 *
 * <p>All methods that compute run in the innermost open scope of the device, and throw {@link
 * IllegalArgumentException} for shapes, types and sizes they cannot take, {@link
 * IllegalStateException} after close, {@link WrongThreadException} in a thread the device does not
 * serve and {@link DeviceOutOfMemoryException} beyond its memory limit.
 */
public final class Tensor {
  /** The inputs of a tensor that was computed where nothing is recorded. */
  static final Tensor[] UNRECORDED = {};

  /** Stands for the time of the last write where the memory belongs to others by now. */
  static final long GIVEN_BACK = Long.MAX_VALUE;

  private final Shape shape;
  private final DType dtype;
  final Slab home;
  final MemorySegment memory;

  /** The tensor whose memory this shows; itself if the memory is its own. */
  final Tensor base;

  /** Grows with every tensor and every write on a device, so it orders them in time. */
  final long serial;

  /** When the memory was last written. Changes for values of a store, and at the end. */
  long written;

  /** The elements of an I32 tensor where the host knows them; of a view, its base's count. */
  int[] known;

  /** How many places of a walk backwards hold this or a view of it; -1 outside of a walk. */
  int holds = -1;

  // Set once, by Device.apply, before anyone else sees the tensor.
  Op op;
  Tensor[] inputs;
  Result result;

  Tensor(Slab home, DType dtype, Shape shape, MemorySegment memory, Tensor base) {
    this.home = home;
    this.dtype = dtype;
    this.shape = shape;
    this.memory = memory;
    this.base = base == null ? this : base;
    this.serial = home.device.nextSerial();
    this.written = serial;
  }

  /** Returns the sizes of the axes. */
  public Shape shape() {
    return shape;
  }

  /** Returns the type of the elements. */
  public DType dtype() {
    return dtype;
  }

  /** Returns the device it lives on. */
  public Device device() {
    return home.device;
  }

  /** Returns the number of elements. */
  public long size() {
    return shape.size();
  }

  /** Returns the number of bytes. */
  public long bytes() {
    return shape.size() * dtype.bytes();
  }

  /** Returns whether the memory was written, or given to others, after this was made. */
  boolean isStale() {
    return base.written > serial && (base != this || written == GIVEN_BACK);
  }

  /** Returns when the memory was last written. */
  long lastWritten() {
    return Math.max(base.written, home.written);
  }

  // ---- reading ---------------------------------------------------------------------------

  /** Returns a copy of the elements of an F32 tensor, or of a BF16 tensor widened. */
  public float[] toFloats() {
    if (dtype == DType.BF16) {
      return widened();
    }
    DType.require("toFloats: the tensor", dtype, DType.F32);
    float[] values = new float[count("toFloats")];
    home.device.download(MemorySegment.ofArray(values), memory);
    return values;
  }

  private float[] widened() {
    short[] halves = new short[count("toFloats")];
    home.device.download(MemorySegment.ofArray(halves), memory);
    float[] values = new float[halves.length];
    for (int i = 0; i < values.length; i++) {
      values[i] = Float.intBitsToFloat(halves[i] << 16);
    }
    return values;
  }

  /** Returns a copy of the elements of an F64 tensor, or of an F32 or BF16 tensor widened. */
  public double[] toDoubles() {
    if (dtype == DType.F32 || dtype == DType.BF16) {
      float[] narrow = toFloats();
      double[] values = new double[narrow.length];
      for (int i = 0; i < values.length; i++) {
        values[i] = narrow[i];
      }
      return values;
    }
    DType.require("toDoubles: the tensor", dtype, DType.F64);
    double[] values = new double[count("toDoubles")];
    home.device.download(MemorySegment.ofArray(values), memory);
    return values;
  }

  /** Returns a copy of the elements of an I32 tensor. */
  public int[] toInts() {
    DType.require("toInts: the tensor", dtype, DType.I32);
    CudaGraph graph = home.device.graph;
    if (graph != null && graph.isCounting()) {
      return graph.values(this);
    }
    int count = count("toInts");
    if (base.known != null) {
      return base.known.clone();
    }
    int[] values = new int[count];
    home.device.download(MemorySegment.ofArray(values), memory);
    return values;
  }

  /** Returns the element of an F32, F64 or BF16 tensor that has one. */
  public double item() {
    if (size() != 1) {
      throw new IllegalArgumentException("item: shape " + shape + " has " + size() + " elements");
    }
    return toDoubles()[0];
  }

  private int count(String what) {
    home.device.check(what, "the tensor", this);
    home.device.requireUnrecorded(what);
    if (size() > Integer.MAX_VALUE - 8) {
      throw new IllegalArgumentException(
          what + ": shape " + shape + " has more elements than an array can hold");
    }
    return (int) size();
  }

  // ---- element by element ----------------------------------------------------------------

  /**
   * Returns this in another type, each element rounded once. Its derivative is cast back.
   *
   * @param type F32, F64 or BF16, as this tensor's is
   */
  public Tensor cast(DType type) {
    Objects.requireNonNull(type, "cast: type");
    return type == dtype ? this : new Cast(type).apply(this);
  }

  /** Returns scale x + shift. */
  public Tensor affine(double scale, double shift) {
    return new Pointwise.Affine(scale, shift).apply(this);
  }

  /** Returns scale x. */
  public Tensor scale(double scale) {
    return affine(scale, 0);
  }

  /** Returns -x. */
  public Tensor neg() {
    return affine(-1, 0);
  }

  /**
   * Returns x to a power. The exponents -2, -1, -0.5, 0, 0.5, 1, 2 and 3 are products, quotients
   * and square roots; others need x above 0 and give NaN elsewhere.
   */
  public Tensor power(double exponent) {
    return new Pointwise.Power(exponent).apply(this);
  }

  /** Returns e to the power x. */
  public Tensor exp() {
    return Pointwise.EXP.apply(this);
  }

  /** Returns the natural logarithm. */
  public Tensor log() {
    return Pointwise.LOG.apply(this);
  }

  /** Returns the hyperbolic tangent. */
  public Tensor tanh() {
    return Pointwise.TANH.apply(this);
  }

  /** Returns 1 / (1 + exp -x). */
  public Tensor sigmoid() {
    return Pointwise.SIGMOID.apply(this);
  }

  /** Returns this + b. */
  public Tensor add(Tensor b) {
    return Binary.apply(Binary.ADD, this, b);
  }

  /** Returns this - b. */
  public Tensor sub(Tensor b) {
    return Binary.apply(Binary.SUB, this, b);
  }

  /** Returns this times b, element by element. */
  public Tensor mul(Tensor b) {
    return Binary.apply(Binary.MUL, this, b);
  }

  /** Returns this / b. */
  public Tensor div(Tensor b) {
    return Binary.apply(Binary.DIV, this, b);
  }

  /** Returns the larger of this and b; where they are equal, the derivative goes to this. */
  public Tensor maximum(Tensor b) {
    return Binary.apply(Binary.MAXIMUM, this, b);
  }

  /** Returns 1 where this is greater than b, 0 elsewhere. Its derivative is zero. */
  public Tensor greater(Tensor b) {
    return Binary.apply(Binary.GREATER, this, b);
  }

  // ---- along an axis ---------------------------------------------------------------------

  /** Returns the sum along an axis, which disappears. */
  public Tensor sum(int axis) {
    return new Axis.Sum(shape.axis(axis)).apply(this);
  }

  /** Returns the sum of all elements, a scalar. */
  public Tensor sum() {
    return shape.rank() == 0 ? alias() : flat().sum(0);
  }

  /** Returns the mean along an axis, which disappears: the sum times 1 / n, rounded to the type. */
  public Tensor mean(int axis) {
    return sum(axis).scale(1.0 / shape.dim(axis));
  }

  /** Returns the mean of all elements, a scalar: the sum times 1 / n, rounded to the type. */
  public Tensor mean() {
    return sum().scale(1.0 / size());
  }

  /**
   * Returns the largest element along an axis, which disappears. Equal largest elements share the
   * derivative.
   */
  public Tensor largest(int axis) {
    return new Axis.Largest(shape.axis(axis)).apply(this);
  }

  /**
   * Returns this repeated along a new axis.
   *
   * @param axis the place of the new axis, in [-(rank + 1), rank]
   * @param size how often it is repeated
   */
  public Tensor broadcast(int axis, long size) {
    return new Axis.Broadcast(shape.place(axis), size).apply(this);
  }

  /** Returns this repeated to a shape, as NumPy would broadcast it. */
  public Tensor broadcastTo(Shape target) {
    Objects.requireNonNull(target, "broadcastTo: target");
    return Binary.expand("broadcastTo: the tensor", this, target);
  }

  // ---- products --------------------------------------------------------------------------

  /** Returns the matrix product of the last two axes: {@code matmul(b, false, false)}. */
  public Tensor matmul(Tensor b) {
    return matmul(b, false, false);
  }

  /**
   * Returns the matrix product of the last two axes, either of them transposed first.
   *
   * @param b of rank 2, one matrix for all of this; or with the same leading axes as this
   * @param aTransposed whether this is [.., k, r] instead of [.., r, k]; then b has the same rank
   * @param bTransposed whether b is [.., c, k] instead of [.., k, c]
   * @return [.., r, c]
   */
  public Tensor matmul(Tensor b, boolean aTransposed, boolean bTransposed) {
    return Matmul.of(aTransposed, bTransposed).apply(this, b);
  }

  // ---- moving elements -------------------------------------------------------------------

  /** Returns the same elements in another shape of the same size, sharing the memory. */
  public Tensor reshape(long... dims) {
    return reshape(Shape.of(dims));
  }

  /** Returns the same elements in another shape of the same size, sharing the memory. */
  public Tensor reshape(Shape shape) {
    return new Move.Reshape(Objects.requireNonNull(shape, "reshape: shape")).apply(this);
  }

  /** Returns the same elements as one axis, sharing the memory. */
  Tensor flat() {
    return shape.rank() == 1 ? this : reshape(Shape.of(shape.size()));
  }

  /** Returns this with two axes exchanged. */
  public Tensor swapAxes(int first, int second) {
    int i = shape.axis(first);
    int j = shape.axis(second);
    return i == j ? alias() : new Move.SwapAxes(Math.min(i, j), Math.max(i, j)).apply(this);
  }

  /** Returns {@code count} places of an axis, from {@code start} on. */
  public Tensor slice(int axis, long start, long count) {
    return new Move.Slice(shape.axis(axis), start, count).apply(this);
  }

  /** Returns this from place {@code start} of an axis of {@code size} places, zero elsewhere. */
  public Tensor pad(int axis, long start, long size) {
    return new Move.Pad(shape.axis(axis), start, size).apply(this);
  }

  /** Returns this and then b along an axis; the other axes are equal. */
  public Tensor concat(Tensor b, int axis) {
    return new Move.Concat(shape.axis(axis)).apply(this, b);
  }

  // ---- by index --------------------------------------------------------------------------

  /**
   * Returns the rows of this table that an index names.
   *
   * @param index I32, of any shape, in [0, rows), rows the size of this table's first axis
   * @return the index's shape followed by the shape of a row
   */
  public Tensor gather(Tensor index) {
    return new Index.Gather().apply(this, index);
  }

  /**
   * Returns a table whose row r is the sum of the rows of this that the index sends to r, in their
   * order; zero where there is none.
   *
   * @param index I32, the leading axes of this, in [0, rows)
   * @param rows the number of rows of the table
   */
  public Tensor scatterAdd(Tensor index, long rows) {
    return new Index.ScatterAdd(rows).apply(this, index);
  }

  /**
   * Returns, for each index of this I32 tensor, a row with 1 at its place and 0 elsewhere; -1
   * gives a row of zeros.
   *
   * @param type F32 or F64
   * @param classes the length of a row; indices are in [-1, classes)
   */
  public Tensor oneHot(DType type, long classes) {
    Objects.requireNonNull(type, "oneHot: type");
    return new Index.OneHot(type, classes).apply(this);
  }

  // ---- on the tape -----------------------------------------------------------------------

  /** Returns the same value without the past: derivatives stop here. It shares the memory. */
  public Tensor detach() {
    home.device.check("detach", "the tensor", this);
    return new Tensor(home, dtype, shape, memory, base);
  }

  /**
   * Returns this value with another's derivative: a hard choice that is learned through the soft
   * one it was made from. It shares the memory. Source: Bengio et al., arXiv:1308.3432.
   *
   * @param soft of this type and shape; it gets the derivative, and this gets none
   */
  public Tensor straightThrough(Tensor soft) {
    return new StraightThrough().apply(this, soft);
  }

  /** Returns the same value as a tensor of its own on the tape. It shares the memory. */
  public Tensor alias() {
    return Move.ALIAS.apply(this);
  }

  /** Returns the type and the shape. */
  @Override
  public String toString() {
    return dtype + " " + shape;
  }
}
