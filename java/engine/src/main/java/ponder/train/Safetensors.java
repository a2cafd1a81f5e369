// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.AtomicMoveNotSupportedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import ponder.DType;
import ponder.Store;
import ponder.Tensor;

/**
 * Writes the values of a store as a safetensors file: eight bytes with the length of a JSON header,
 * the header (name, type, shape and place of each tensor), the values, all little-endian. Source:
 * the format's description, huggingface.co/docs/safetensors.
 */
public final class Safetensors {
  private Safetensors() {}

  /**
   * Writes the file whole or not at all: it is made beside its place and moved there at the end.
   *
   * @throws IOException if the file cannot be written; the former file, if any, is untouched
   */
  public static void write(Path file, Store store) throws IOException {
    byte[] header = header(store).getBytes(StandardCharsets.UTF_8);
    Path directory = file.toAbsolutePath().getParent();
    Path draft = Files.createTempFile(directory, file.getFileName().toString(), ".part");
    try {
      try (FileChannel channel = FileChannel.open(draft, StandardOpenOption.WRITE)) {
        ByteBuffer head = ByteBuffer.allocate(8 + header.length).order(ByteOrder.LITTLE_ENDIAN);
        writeFully(channel, head.putLong(header.length).put(header).flip());
        for (String name : store.names()) {
          writeFully(channel, bytes(store.get(name)));
        }
        channel.force(true);
      }
      try {
        Files.move(
            draft, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
      } catch (AtomicMoveNotSupportedException e) {
        Files.move(draft, file, StandardCopyOption.REPLACE_EXISTING);
      }
    } finally {
      Files.deleteIfExists(draft);
    }
  }

  private static String header(Store store) {
    List<String> entries = new ArrayList<>();
    long at = 0;
    for (String name : store.names()) {
      Tensor t = store.get(name);
      StringBuilder shape = new StringBuilder();
      for (long dim : t.shape().dims()) {
        shape.append(shape.isEmpty() ? "" : ",").append(dim);
      }
      entries.add(
          "\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%d,%d]}"
              .formatted(quoted(name), t.dtype(), shape, at, at + t.bytes()));
      at += t.bytes();
    }
    String header = "{" + String.join(",", entries) + "}";
    // Spaces at the end keep the values aligned to eight bytes.
    return header + " ".repeat((8 - header.getBytes(StandardCharsets.UTF_8).length % 8) % 8);
  }

  private static String quoted(String name) {
    StringBuilder text = new StringBuilder();
    for (char c : name.toCharArray()) {
      if (c == '"' || c == '\\') {
        text.append('\\').append(c);
      } else if (c < ' ') {
        text.append("\\u%04x".formatted((int) c));
      } else {
        text.append(c);
      }
    }
    return text.toString();
  }

  private static ByteBuffer bytes(Tensor t) {
    ByteBuffer bytes =
        ByteBuffer.allocate(Math.toIntExact(t.bytes())).order(ByteOrder.LITTLE_ENDIAN);
    switch (t.dtype()) {
      case DType.F32 -> bytes.asFloatBuffer().put(t.toFloats());
      case DType.F64 -> bytes.asDoubleBuffer().put(t.toDoubles());
      case DType.I32 -> bytes.asIntBuffer().put(t.toInts());
    }
    return bytes;
  }

  private static void writeFully(FileChannel channel, ByteBuffer bytes) throws IOException {
    while (bytes.hasRemaining()) {
      channel.write(bytes);
    }
  }
}
