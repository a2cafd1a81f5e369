// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static java.nio.file.StandardOpenOption.READ;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.SequencedMap;
import java.util.Set;
import ponder.DType;
import ponder.Device;
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
    write(file, new LinkedHashMap<>(Map.of("", store)));
  }

  /**
   * Writes the values of several stores as {@link #write(Path, Store)} writes those of one.
   *
   * @param stores by what stands before the names of their values
   * @return the file's SHA-256
   */
  static String write(Path file, SequencedMap<String, Store> stores) throws IOException {
    Map<String, Tensor> values = values(stores);
    byte[] header = SafetensorsHeader.write(SafetensorsHeader.of(values));
    MessageDigest digest = Sha256.digest();
    WholeFile.write(
        file,
        channel -> {
          write(channel, digest, littleEndian(Long.BYTES).putLong(header.length).flip());
          write(channel, digest, ByteBuffer.wrap(header));
          for (Tensor value : values.values()) {
            write(channel, digest, bytes(value));
          }
        });
    return Sha256.text(digest);
  }

  /** Returns the values of all stores under their whole names. */
  private static Map<String, Tensor> values(SequencedMap<String, Store> stores) {
    Map<String, Tensor> values = new LinkedHashMap<>();
    stores.forEach(
        (prefix, store) ->
            store.names().forEach(name -> values.put(prefix + name, store.get(name))));
    return values;
  }

  /**
   * Reads the values of a file into a store that has the same names, types and shapes, or none yet.
   *
   * @throws IOException saying what is wrong, if the file cannot be read, is damaged, or does not
   *     fit the store; the store is untouched
   */
  public static void read(Path file, Store store) throws IOException {
    if (!store.names().isEmpty()) {
      read(file, new LinkedHashMap<>(Map.of("", store)));
      return;
    }
    try (Scope scope = store.device().openUnrecorded()) {
      read(file, scope, entries -> {}).forEach(store::add);
    }
  }

  /**
   * Reads what {@link #write(Path, SequencedMap)} wrote, into stores with the same names, types and shapes.
   *
   * @throws IOException as {@link #read(Path, Store)}; the stores are untouched
   */
  static void read(Path file, SequencedMap<String, Store> stores) throws IOException {
    Map<String, Tensor> wanted = values(stores);
    Device device = stores.values().iterator().next().device();
    try (Scope scope = device.openUnrecorded()) {
      Map<String, Tensor> values = read(file, scope, entries -> checkFit(entries, wanted));
      stores.forEach(
          (prefix, store) ->
              store.names().forEach(name -> store.replace(name, values.get(prefix + name))));
    }
  }

  /** A check of a file's header, made before any value is read. */
  private interface Check {
    void check(List<SafetensorsHeader.Entry> entries) throws IOException;
  }

  private static Map<String, Tensor> read(Path file, Scope scope, Check check) throws IOException {
    try (FileChannel channel = FileChannel.open(file, READ)) {
      Map<String, Tensor> values = new LinkedHashMap<>();
      try {
        List<SafetensorsHeader.Entry> entries = header(channel);
        check.check(entries);
        for (SafetensorsHeader.Entry entry : entries) {
          values.put(entry.name(), value(scope, entry, channel));
        }
      } catch (IOException e) {
        throw new IOException(file + ": " + e.getMessage(), e);
      }
      return values;
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

  private static void checkFit(List<SafetensorsHeader.Entry> entries, Map<String, Tensor> wanted)
      throws IOException {
    Set<String> names = new HashSet<>();
    for (SafetensorsHeader.Entry entry : entries) {
      Tensor t = wanted.get(entry.name());
      if (t == null) {
        throw new IOException("it has a value " + entry.name() + ", the store has none");
      }
      if (entry.type() != t.dtype() || !entry.shape().equals(t.shape())) {
        throw new IOException(
            "%s is %s %s, must be %s".formatted(entry.name(), entry.type(), entry.shape(), t));
      }
      names.add(entry.name());
    }
    for (String name : wanted.keySet()) {
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
      case DType.BF16 -> {
        float[] values = new float[size];
        for (int i = 0; i < size; i++) values[i] = Float.intBitsToFloat(bytes.getShort() << 16);
        yield scope.tensor(shape, values).cast(DType.BF16);
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
      case DType.BF16 -> {
        for (float value : t.toFloats()) {
          bytes.putShort((short) (Float.floatToRawIntBits(value) >>> 16));
        }
        bytes.flip();
      }
      case DType.I32 -> bytes.asIntBuffer().put(t.toInts());
    }
    return bytes;
  }

  private static ByteBuffer littleEndian(long bytes) {
    return ByteBuffer.allocate(Math.toIntExact(bytes)).order(ByteOrder.LITTLE_ENDIAN);
  }

  private static void write(FileChannel channel, MessageDigest digest, ByteBuffer bytes)
      throws IOException {
    digest.update(bytes.duplicate());
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
