// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import ponder.lab.frontier.Curve;
import ponder.lab.statistics.Estimate;
import ponder.train.WholeFile;

/**
 * One model, one training budget, one seed: everything that was measured of it. A run is made of
 * these; one that is on the disk need not be made again.
 *
 * @param program the version of the program
 * @param run what makes the run this one, by name
 * @param training how it was trained
 * @param answers one entry for each method and amount of test-time compute
 */
public record PathsUnit(
    String program, Map<String, String> run, Training training, List<Answered> answers) {
  /**
   * The training of a model and what its likelihood says of the test paths.
   *
   * @param model the model's name
   * @param seed the seed
   * @param fraction the training budget as a part of the full one
   * @param parameters the number of parameters
   * @param steps the steps made
   * @param trainFlops the FLOPs of the steps
   * @param trainMatrixFlops the part of them in matrix products
   * @param validationFlops the FLOPs spent on measuring the validation loss, apart
   * @param scoreFlops the FLOPs spent on the learned score: drawing paths, and its training
   * @param seconds the time the steps took
   * @param bestStep the step whose parameters were kept
   * @param validationNats their validation loss per token
   * @param firstMoveNats mean negative log likelihood of the true first move
   * @param restNats that of the rest of the true path, summed
   * @param predictedExact the share of exact samples that the likelihood predicts
   * @param measuredExact the share that was exact
   * @param surprise the difference in standard deviations
   * @param going where the states of a looped model go; null for others
   */
  public record Training(
      String model,
      long seed,
      double fraction,
      long parameters,
      long steps,
      long trainFlops,
      long trainMatrixFlops,
      long validationFlops,
      long scoreFlops,
      double seconds,
      long bestStep,
      double validationNats,
      Estimate firstMoveNats,
      Estimate restNats,
      Estimate predictedExact,
      Estimate measuredExact,
      double surprise,
      Going going) {
    /** Returns what tells it from the others in words. */
    public String name() {
      return model + ", " + Curve.part(fraction) + " of the training, seed " + seed;
    }
  }

  /**
   * What a method gave.
   *
   * @param row its rates
   * @param seconds wall time per query
   * @param solved a 1 for each query solved, else a 0
   * @param optimal a 1 for each path as short as can be
   * @param paths the first queries' answers, the source not among them
   */
  public record Answered(
      PathsRow row, double seconds, String solved, String optimal, List<int[]> paths) {}

  private static final String SEAL = "{\"sha256\":\"%s\",\"unit\":";

  /** Writes the unit, whole or not at all, sealed by its SHA-256. */
  void write(Path file) throws IOException {
    byte[] body = new ObjectMapper().writeValueAsBytes(this);
    String text = SEAL.formatted(sha256(body)) + new String(body, StandardCharsets.UTF_8) + "}";
    byte[] whole = text.getBytes(StandardCharsets.UTF_8);
    WholeFile.write(file, channel -> Channels.newOutputStream(channel).write(whole));
  }

  /**
   * Reads a unit.
   *
   * @throws IOException in one sentence, if the file is not exactly what was written
   */
  static PathsUnit read(Path file) throws IOException {
    byte[] whole = Files.readAllBytes(file);
    int from = SEAL.formatted("0".repeat(64)).length();
    byte[] body = Arrays.copyOfRange(whole, Math.min(from, whole.length), whole.length);
    body = Arrays.copyOf(body, Math.max(0, body.length - 1));
    String text = SEAL.formatted(sha256(body)) + new String(body, StandardCharsets.UTF_8) + "}";
    if (!Arrays.equals(whole, text.getBytes(StandardCharsets.UTF_8))) {
      throw new IOException(file + ": is cut short or altered, its SHA-256 is not the one it says");
    }
    return new ObjectMapper().readValue(body, PathsUnit.class);
  }

  /**
   * Checks that this program may use the unit in a run.
   *
   * @param file the unit's, for the message
   * @throws IOException naming what differs, and both values
   */
  PathsUnit requireRun(Path file, String program, Map<String, String> run) throws IOException {
    Map<String, String> then = new TreeMap<>(this.run);
    then.put("the program's version", this.program);
    Map<String, String> now = new TreeMap<>(run);
    now.put("the program's version", program);
    for (String name : then.keySet()) {
      if (!then.get(name).equals(now.get(name))) {
        throw new IOException(
            "%s: is of another run: %s was %s, is %s"
                .formatted(file, name, then.get(name), now.get(name)));
      }
    }
    return this;
  }

  private static String sha256(byte[] bytes) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(bytes));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every JDK has SHA-256", e);
    }
  }
}
