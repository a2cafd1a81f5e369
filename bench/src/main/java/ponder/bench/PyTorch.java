// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * PyTorch, timed by {@code bench/peers/pytorch.py} in a process of its own for each fork.
 *
 * @param python the interpreter
 */
record PyTorch(String python) implements Forks {
  private static final String NAME = "pytorch";
  private static final String PROGRAM = "bench/peers/pytorch.py";
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Returns the rival, if that interpreter has it. */
  static PyTorch find(String python) throws IOException {
    try {
      run(python, JSON.createObjectNode().put("subject", "version"));
    } catch (IOException | IllegalStateException e) {
      throw new IOException(
          "--peers needs a Python with PyTorch, and \""
              + python
              + "\" is none: name one with --python or PONDER_PYTHON ("
              + e.getMessage()
              + ")",
          e);
    }
    return new PyTorch(python);
  }

  @Override
  public List<String> sides(Row row) {
    boolean has =
        switch (row.words()[0]) {
          case "op", "optimiser", "step" -> true;
          default -> false;
        };
    return has ? List.of(NAME) : List.of();
  }

  @Override
  public Round time(Row row, String side, Effort effort, boolean checked) {
    ObjectNode request = JSON.createObjectNode();
    request.put("subject", row.subject());
    request.put("type", row.type().name().toLowerCase(Locale.ROOT));
    request.put("threads", row.threads());
    request.put("warm_ups", effort.warmUps());
    request.put("warm_up_seconds", 1e-3 * effort.warmUpMillis());
    request.put("iterations", effort.iterations());
    request.put("seconds", 1e-3 * effort.millis());
    ObjectNode sizes = request.putObject("sizes");
    row.sizes().forEach((name, value) -> sizes.put(name, value));
    try {
      List<Sample> samples = new ArrayList<>();
      for (JsonNode s : run(python, request).get("samples")) {
        samples.add(
            new Sample(
                s.get("wall_nanos").asDouble(),
                s.get("cpu_nanos").asDouble(),
                0,
                s.get("seconds").asDouble(),
                s.get("switches").asDouble(),
                s.get("steal_nanos").asDouble()));
      }
      return new Round(samples, 0, 0, 0, 0, Double.NaN, 0);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static JsonNode run(String python, ObjectNode request) throws IOException {
    Process process =
        new ProcessBuilder(python, PROGRAM).redirectError(ProcessBuilder.Redirect.PIPE).start();
    try (var in = process.getOutputStream()) {
      in.write(JSON.writeValueAsBytes(request));
    }
    String answer = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    String complaint = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8);
    try {
      if (process.waitFor() != 0) {
        throw new IllegalStateException(
            complaint.lines().reduce((before, line) -> line).orElse("it ended without a word"));
      }
    } catch (InterruptedException e) {
      process.destroy();
      Thread.currentThread().interrupt();
      throw new IllegalStateException("interrupted", e);
    }
    return JSON.readTree(answer);
  }
}
