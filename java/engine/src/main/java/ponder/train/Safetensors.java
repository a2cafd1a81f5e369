// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static java.nio.file.StandardOpenOption.READ;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import ponder.DType;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;

/**
 * The values of a store as a safetensors file: eight bytes with the length of a JSON header, the
 * header (name, type, shape and place of each tensor), the values, all little-endian. Source: the
 * format's description, huggingface.co/docs/safetensors.
 */
public final class Safetensors {
  private static final long LONGEST_HEADER = 100_000_000;

  private Safetensors() {}

  /**
   * Writes the file, whole or not at all ({@link WholeFile}).
   *
   * @throws IOException if the file cannot be written; the former file, if any, is untouched
   */
  public static void write(Path file, Store store) throws IOException {
    byte[] header = SafetensorsHeader.write(SafetensorsHeader.of(store));
    WholeFile.write(
        file,
        channel -> {
          writeFully(channel, littleEndian(Long.BYTES).putLong(header.length).flip());
          writeFully(channel, ByteBuffer.wrap(header));
          for (String name : store.names()) {
            writeFully(channel, bytes(store.get(name)));
          }
        });
  }

  /**
   * Reads the values of a file into a store that has the same names, types and shapes, or none yet.
   *
   * @throws IOException saying what is wrong, if the file cannot be read, is damaged, or does not
   *     fit the store; the store is untouched
   */
  public static void read(Path file, Store store) throws IOException {
    try (FileChannel channel = FileChannel.open(file, READ);
        Scope scope = store.device().openUnrecorded()) {
      List<SafetensorsHeader.Entry> entries;
      List<Tensor> values = new ArrayList<>();
      try {
        entries = header(channel);
        if (!store.names().isEmpty()) {
          checkFit(entries, store);
        }
        for (SafetensorsHeader.Entry entry : entries) {
          values.add(value(scope, entry, channel));
        }
      } catch (IOException e) {
        throw new IOException(file + ": " + e.getMessage(), e);
      }
      boolean empty = store.names().isEmpty();
      for (int i = 0; i < values.size(); i++) {
        String name = entries.get(i).name();
        if (empty) {
          store.add(name, values.get(i));
        } else {
          store.replace(name, values.get(i));
        }
      }
    }
  }

  /** Reads the header; the channel then stands at the first value. */
  private static List<SafetensorsHeader.Entry> header(FileChannel channel) throws IOException {
    long length = readFully(channel, Long.BYTES).getLong();
    long rest = channel.size() - Long.BYTES;
    if (length < 2 || length > Math.min(rest, LONGEST_HEADER)) {
      throw new IOException(
          "the header's length is " + length + ", but " + rest + " bytes follow it");
    }
    byte[] header = readFully(channel, length).array();
    try {
      return SafetensorsHeader.read(header, rest - length);
    } catch (IOException e) {
      throw new IOException("header: " + e.getMessage(), e);
    }
  }

  private static void checkFit(List<SafetensorsHeader.Entry> entries, Store store)
      throws IOException {
    for (SafetensorsHeader.Entry entry : entries) {
      if (!store.names().contains(entry.name())) {
        throw new IOException("it has a value " + entry.name() + ", the store has none");
      }
      Tensor t = store.get(entry.name());
      if (entry.type() != t.dtype() || !entry.shape().equals(t.shape())) {
        throw new IOException(
            "%s is %s %s, must be %s".formatted(entry.name(), entry.type(), entry.shape(), t));
      }
    }
    List<String> names = entries.stream().map(SafetensorsHeader.Entry::name).toList();
    for (String name : store.names()) {
      if (!names.contains(name)) {
        throw new IOException("it has no value " + name + ", the store has one");
      }
    }
  }

  private static Tensor value(Scope scope, SafetensorsHeader.Entry entry, FileChannel channel)
      throws IOException {
    ByteBuffer bytes = readFully(channel, entry.to() - entry.from());
    Shape shape = entry.shape();
    int size = (int) shape.size();
    return switch (entry.type()) {
      case DType.F32 -> {
        float[] values = new float[size];
        bytes.asFloatBuffer().get(values);
        yield scope.tensor(shape, values);
      }
      case DType.F64 -> {
        double[] values = new double[size];
        bytes.asDoubleBuffer().get(values);
        yield scope.tensor(shape, values);
      }
      case DType.I32 -> {
        int[] values = new int[size];
        bytes.asIntBuffer().get(values);
        yield scope.indices(shape, values);
      }
    };
  }

  private static ByteBuffer bytes(Tensor t) {
    ByteBuffer bytes = littleEndian(t.bytes());
    switch (t.dtype()) {
      case DType.F32 -> bytes.asFloatBuffer().put(t.toFloats());
      case DType.F64 -> bytes.asDoubleBuffer().put(t.toDoubles());
      case DType.I32 -> bytes.asIntBuffer().put(t.toInts());
    }
    return bytes;
  }

  private static ByteBuffer littleEndian(long bytes) {
    return ByteBuffer.allocate(Math.toIntExact(bytes)).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static void writeFully(FileChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }

  private static ByteBuffer readFully(FileChannel channel, long count) throws IOException {
    if (count > Integer.MAX_VALUE - 8) {
      throw new IOException("a value of " + count + " bytes is longer than an array can be");
    }
    ByteBuffer bytes = littleEndian(count);
    while (bytes.hasRemaining()) {
      if (channel.read(bytes) < 0) {
        throw new IOException("it ends " + bytes.remaining() + " bytes too early");
      }
    }
    return bytes.flip();
  }
}
