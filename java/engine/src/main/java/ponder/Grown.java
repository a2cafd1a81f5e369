// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.util.Arrays;
import java.util.Objects;
import ponder.abi.Kernels;

/**
 * A tensor that grows along its second axis: what a layer carries from step to step, [batch, count,
 * ...]. It is a value: {@link #append} returns another and changes none. Values that were appended
 * to one another share memory with room to spare, and the newest of them writes what it appends
 * behind its own rows; any other copies first, as a slice of Go does. So one sequence of steps
 * copies each row a few times in all, and branches do not see each other.
 *
 * <p>Where a graph is recorded appending is {@link Tensor#concat}, with its derivative, and leaves
 * no room.
 */
public final class Grown {
  private static final long LEAST_ROOM = 16;

  /** Memory of some values, the rows of each the first ones of it. */
  private static final class Buffer {
    final Tensor room;

    /** How many rows the newest value has; those behind them are nobody's. */
    long taken;

    Buffer(Tensor room, long taken) {
      this.room = room;
      this.taken = taken;
    }
  }

  /** Writes x into y in place, from row {@code start} on: rows that no value has. */
  private record Put(long start) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor y = in[0];
      Tensor x = in[1];
      Shape s = y.shape();
      long batch = s.at(0);
      Tensor starts = launch.output(DType.I32, Shape.of(batch));
      Kernels kernels = Kernels.of(launch);
      kernels.fill(DType.I32.code(), launch.memory(starts), batch, start);
      kernels.put(
          y.dtype().code(),
          launch.memory(y),
          launch.memory(x),
          launch.memory(starts),
          batch,
          s.at(1),
          s.product(2, s.rank()),
          x.shape().at(1));
      return new Result(((Stage) launch).view(y, s));
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      throw new IllegalStateException("append: it is recorded as a concatenation");
    }

    /** The rows written are moved, not the room. */
    @Override
    public Work work(Tensor... in) {
      return new Work(0, 0, 2 * in[1].bytes() + 2 * DType.I32.bytes() * in[1].shape().at(0));
    }
  }

  private final Buffer buffer;
  private final long count;

  private Grown(Buffer buffer, long count) {
    this.buffer = buffer;
    this.count = count;
  }

  /**
   * Returns a value that holds a tensor's rows, in the tensor's memory.
   *
   * @param x [batch, count, ...]
   */
  public static Grown of(Tensor x) {
    Objects.requireNonNull(x, "grown: x");
    if (x.shape().rank() < 2) {
      throw new IllegalArgumentException(
          "grown: x has shape " + x.shape() + ", must be [batch, count, ...]");
    }
    long count = x.shape().at(1);
    return new Grown(new Buffer(x, count), count);
  }

  /** Returns how many rows each sequence of the batch holds. */
  public long count() {
    return count;
  }

  /** Returns whether there is no room after the rows held. */
  public boolean isFull() {
    return count == room().shape().at(1);
  }

  /** Returns the rows held, [batch, count, ...]; a copy of them unless {@link #isFull}. */
  public Tensor tensor() {
    return isFull() ? room() : room().slice(1, 0, count);
  }

  /**
   * Returns the memory that the rows held are the first ones of, [batch, count or more, ...]. What
   * lies behind them is undefined and changes: it is for ops that are told {@link #lengths}.
   */
  public Tensor room() {
    return buffer.room;
  }

  /** Returns the number of rows held, once for each sequence: [batch], I32. */
  public Tensor lengths() {
    int[] lengths = new int[Math.toIntExact(room().shape().at(0))];
    Arrays.fill(lengths, Math.toIntExact(count));
    Scope scope = room().device().innermost("lengths");
    Tensor t = scope.full(DType.I32, Shape.of(lengths.length), count);
    t.known = lengths;
    return t;
  }

  /**
   * Returns these rows and then those of x.
   *
   * @param x [batch, any number of rows, ...], of the same type
   * @throws IllegalArgumentException if another axis or the type differs
   */
  public Grown append(Tensor x) {
    Objects.requireNonNull(x, "append: x");
    Device device = room().device();
    DType.require("append: x", x.dtype(), room().dtype());
    Shape s = x.shape();
    boolean fits = s.rank() == room().shape().rank();
    Shape want = fits ? room().shape().with(1, s.at(1)) : tensor().shape();
    Shape.require("append: x", s, want, "what it is appended to", room().shape().with(1, count));
    // What a graph does again it would write again.
    if (device.recording || device.graph != null) {
      return of(tensor().concat(x, 1));
    }
    long total = count + s.at(1);
    boolean newest = count == buffer.taken && total <= room().shape().at(1);
    Buffer to = newest ? buffer : copy(device, Math.max(LEAST_ROOM, 2 * total));
    new Put(count).apply(to.room, x);
    to.taken = total;
    return new Grown(to, total);
  }

  private Buffer copy(Device device, long capacity) {
    Shape shape = room().shape().with(1, capacity);
    Tensor room = device.innermost("append").fresh(room().dtype(), shape);
    new Put(0).apply(room, tensor());
    return new Buffer(room, count);
  }

  /**
   * Returns these rows of some sequences of the batch, in that order: a copy, with an eighth of it
   * as room where nothing is recorded.
   *
   * @param sequences [n], I32, in [0, batch), repeats allowed
   */
  public Grown sequences(Tensor sequences) {
    Device device = room().device();
    if (device.recording || device.graph != null) {
      return of(tensor().gather(sequences));
    }
    Shape s = room().shape();
    long capacity = s.at(1);
    long wanted = count + (count + 7) / 8;
    int[] chosen = sequences.toInts();
    int[] rows = new int[Math.toIntExact(chosen.length * wanted)];
    for (int i = 0; i < rows.length; i++) {
      int sequence = chosen[(int) (i / wanted)];
      if (sequence < 0 || sequence >= s.at(0)) {
        throw new IllegalArgumentException(
            "sequences: %s of them is %s, must be in [0, %s)"
                .formatted(i / wanted, sequence, s.at(0)));
      }
      // The room repeats the sequence's first row.
      long row = i % wanted < count ? i % wanted : 0;
      rows[i] = Math.toIntExact(sequence * capacity + row);
    }
    Tensor table = room().reshape(s.at(0) * capacity, s.product(2, s.rank()));
    Tensor index = device.innermost("sequences").indices(Shape.of(rows.length), rows);
    Shape shape = s.with(0, chosen.length).with(1, wanted);
    return new Grown(new Buffer(table.gather(index).reshape(shape), count), count);
  }

  /** Returns the shape of the rows held, and the room. */
  @Override
  public String toString() {
    return "%s %s with room for %s"
        .formatted(room().dtype(), room().shape().with(1, count), room().shape().at(1));
  }
}
