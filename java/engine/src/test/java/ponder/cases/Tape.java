// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;

/**
 * A file of calls with what they should leave, which {@code replay} plays on any library without
 * Java. {@code native/test/replay.cpp} states the format.
 */
public final class Tape implements AutoCloseable {
  private static final byte[] MAGIC = "PNDTAPE1".getBytes(StandardCharsets.US_ASCII);

  private final OutputStream out;

  /** Starts a tape in a file, whose directory is made if it is missing. */
  public Tape(Path file) throws IOException {
    Files.createDirectories(file.toAbsolutePath().getParent());
    out = new BufferedOutputStream(Files.newOutputStream(file));
    out.write(MAGIC);
  }

  /** Adds a call. */
  public void add(Call call) throws IOException {
    Map<String, Answers.Expected> expected = Answers.of(call);
    byte[] name = call.owner().name().getBytes(StandardCharsets.US_ASCII);
    writeInt(name.length);
    out.write(name);
    writeInt(call.arguments().size());
    for (var argument : call.arguments().entrySet()) {
      switch (argument.getValue()) {
        case null -> out.write('0');
        case Long number -> {
          out.write('i');
          writeLong(number);
        }
        case Double number -> {
          out.write('d');
          writeDouble(number);
        }
        case Array array -> write(array, expected.get(argument.getKey()));
        default -> throw new IllegalArgumentException(argument.toString());
      }
    }
  }

  private void write(Array array, Answers.Expected expected) throws IOException {
    out.write(
        switch (array.use()) {
          case READ -> 'r';
          case WRITTEN -> 'w';
          case UPDATED -> 'u';
        });
    out.write(array.type().ordinal());
    writeLong(array.count());
    if (array.use() == Array.Use.READ) {
      out.write(array.content());
      return;
    }
    Limit limit = expected.limit();
    writeDouble(limit.absolute());
    writeDouble(limit.ulps());
    writeDouble(limit.relative());
    if (array.use() == Array.Use.UPDATED) out.write(array.content());
    for (double value : expected.answer()) {
      if (array.type() == Type.I32) writeInt((int) value);
      else writeDouble(value);
    }
  }

  private void writeInt(int value) throws IOException {
    out.write(little(4).putInt(value).array());
  }

  private void writeLong(long value) throws IOException {
    out.write(little(8).putLong(value).array());
  }

  private void writeDouble(double value) throws IOException {
    out.write(little(8).putDouble(value).array());
  }

  private static ByteBuffer little(int bytes) {
    return ByteBuffer.allocate(bytes).order(ByteOrder.LITTLE_ENDIAN);
  }

  @Override
  public void close() throws IOException {
    out.close();
  }
}
