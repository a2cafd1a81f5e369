// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * Writes one line of JSON for every training step; it is complete when the step's call ends. Its
 * fields are those of {@link Progress.Step} and the run's name; {@code validation} stands where one
 * was measured. Numbers are exact; only {@code seconds} differs from run to run.
 */
public final class JsonLines implements Progress, Closeable {
  private final Path file;
  private final FileChannel channel;
  private final String run;
  private long length;

  /**
   * Opens the file, new or emptied.
   *
   * @param run the name of the run, in every line
   */
  public JsonLines(Path file, String run) throws IOException {
    this(file, run, 0);
  }

  /**
   * Opens the file to go on after its first bytes; what follows them is cut off.
   *
   * @param run the name of the run, in every line
   * @param length how many bytes stay: what {@link #length} was when the run was where it goes on
   * @throws IOException if the file is shorter, or cannot be written; it is as it was
   */
  public JsonLines(Path file, String run, long length) throws IOException {
    this.file = file;
    this.run = run;
    this.length = length;
    channel = length == 0 ? FileChannel.open(file, CREATE, WRITE) : FileChannel.open(file, WRITE);
    try {
      if (channel.size() < length) {
        throw new IOException(
            file + ": the log has " + channel.size() + " bytes, must have at least " + length);
      }
      if (length < channel.size()) {
        channel.truncate(length);
      }
      // A pipe has no position, and no length.
      if (length > 0) {
        channel.position(length);
      }
    } catch (IOException e) {
      channel.close();
      throw e;
    }
  }

  @Override
  public void after(Step step) {
    try {
      write(step);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Writes the line of a step. */
  void write(Step step) throws IOException {
    StringBuilder line = new StringBuilder("{\"run\":").append(Json.quoted(run));
    append(line, "step", step.step());
    append(line, "flops", step.flops());
    append(line, "budget", step.budget());
    append(line, "loss", step.loss());
    append(line, "norm", step.norm());
    append(line, "rate", step.rate());
    if (step.validated()) {
      append(line, "validation", step.validation());
    }
    append(line, "seconds", step.seconds());
    byte[] bytes = line.append("}\n").toString().getBytes(StandardCharsets.UTF_8);
    try {
      ByteBuffer rest = ByteBuffer.wrap(bytes);
      while (rest.hasRemaining()) {
        channel.write(rest);
      }
      length += bytes.length;
    } catch (IOException e) {
      throw new IOException(file + ": " + e.getMessage(), e);
    }
  }

  private static void append(StringBuilder line, String name, long value) {
    line.append(",\"").append(name).append("\":").append(value);
  }

  private static void append(StringBuilder line, String name, double value) {
    line.append(",\"").append(name).append("\":").append(Json.number(value));
  }

  /** Returns how many bytes the log has. */
  public long length() {
    return length;
  }

  /** Returns once the log is on the disk, so that not even a loss of power shortens it. */
  void force() throws IOException {
    channel.force(true);
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
