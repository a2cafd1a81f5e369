// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.BufferedWriter;
import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Writes one line of JSON for every training step; it is complete when the step's call ends. Its
 * fields are those of {@link Progress.Step} and the run's name; {@code validation} stands where one
 * was measured. Numbers are exact; only {@code seconds} differs from run to run.
 */
public final class JsonLines implements Progress, Closeable {
  private final Path file;
  private final BufferedWriter writer;
  private final String run;

  /**
   * Opens the file, new or emptied.
   *
   * @param run the name of the run, in every line
   */
  public JsonLines(Path file, String run) throws IOException {
    this.file = file;
    this.writer = Files.newBufferedWriter(file);
    this.run = run;
  }

  @Override
  public void after(Step step) {
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
    try {
      writer.write(line.append("}\n").toString());
      writer.flush();
    } catch (IOException e) {
      throw new UncheckedIOException(new IOException(file + ": " + e.getMessage(), e));
    }
  }

  private static void append(StringBuilder line, String name, long value) {
    line.append(",\"").append(name).append("\":").append(value);
  }

  private static void append(StringBuilder line, String name, double value) {
    line.append(",\"").append(name).append("\":").append(Json.number(value));
  }

  @Override
  public void close() throws IOException {
    writer.close();
  }
}
