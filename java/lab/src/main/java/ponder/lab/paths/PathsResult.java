// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.List;
import ponder.lab.cities.Estimate;
import ponder.train.WholeFile;

/**
 * Everything a run of the paths page measured.
 *
 * @param command the options that were given
 * @param machine what it ran on
 * @param data what the paths are made of
 * @param training one entry for each model and seed
 * @param rows one for each model, seed and method
 * @param verdicts the page's claims, each with what was found
 */
public record PathsResult(
    String command,
    Machine machine,
    PathsData data,
    List<Training> training,
    List<PathsRow> rows,
    List<String> verdicts) {
  /**
   * What a run was made on.
   *
   * @param platform system and processor family
   * @param library the native library in use
   * @param threads how many threads computed
   * @param java the JDK's version
   */
  public record Machine(String platform, String library, int threads, String java) {}

  /**
   * The training of one model and what its likelihood says of the test paths.
   *
   * @param model the model's name
   * @param seed the seed
   * @param parameters the number of parameters
   * @param steps the steps made
   * @param trainFlops the FLOPs of the steps
   * @param trainMatrixFlops the part of them in matrix products
   * @param validationFlops the FLOPs spent on measuring the validation loss, apart
   * @param seconds the time it took
   * @param bestStep the step whose parameters were kept
   * @param validationNats their validation loss per token
   * @param firstMoveNats mean negative log likelihood of the true first move
   * @param restNats that of the rest of the true path, summed
   * @param predictedExact the share of exact samples that the likelihood predicts
   * @param measuredExact the share that was exact
   * @param surprise the difference in standard deviations
   */
  public record Training(
      String model,
      long seed,
      long parameters,
      long steps,
      long trainFlops,
      long trainMatrixFlops,
      long validationFlops,
      double seconds,
      long bestStep,
      double validationNats,
      Estimate firstMoveNats,
      Estimate restNats,
      Estimate predictedExact,
      Estimate measuredExact,
      double surprise) {}

  /** Writes the result as JSON, whole or not at all. */
  public void write(Path file) throws IOException {
    byte[] text =
        new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT).writeValueAsBytes(this);
    WholeFile.write(file, channel -> Channels.newOutputStream(channel).write(text));
  }
}
