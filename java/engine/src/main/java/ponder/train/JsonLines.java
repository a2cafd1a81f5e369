// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.BufferedWriter;
import java.io.Closeable;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Locale;

/** Writes one line of JSON per training step; every line is complete when the step's call ends. */
public final class JsonLines implements Progress, Closeable {
  private final BufferedWriter writer;
  private final String run;

  /**
   * Opens the file, new or emptied.
   *
   * @param run the name of the run, in every line
   */
  public JsonLines(Path file, String run) throws IOException {
    this.writer = Files.newBufferedWriter(file);
    this.run = run;
  }

  @Override
  public void after(Step step) {
    String validation =
        step.validated()
            ? String.format(Locale.ROOT, ",\"validation\":%.6f", step.validation())
            : "";
    try {
      writer.write(
          String.format(
              Locale.ROOT,
              "{\"run\":\"%s\",\"step\":%d,\"flops\":%d,\"loss\":%.6f,\"norm\":%.5g,"
                  + "\"rate\":%.5g%s,\"seconds\":%.3f}%n",
              run,
              step.step(),
              step.flops(),
              step.loss(),
              step.norm(),
              step.rate(),
              validation,
              step.seconds()));
      writer.flush();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  public void close() throws IOException {
    writer.close();
  }
}
