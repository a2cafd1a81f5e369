// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.List;
import ponder.train.WholeFile;

/**
 * Everything a run of the paths page measured.
 *
 * @param command the options that were given
 * @param machine what it ran on
 * @param data what the paths are made of
 * @param training one entry for each model, training budget and seed
 * @param rows one for each of these, each method and each amount of test-time compute
 * @param frontier what training and test-time compute were worth
 * @param verdicts the page's claims, each with what was found
 */
public record PathsResult(
    String command,
    Machine machine,
    PathsData data,
    List<PathsUnit.Training> training,
    List<PathsRow> rows,
    PathsFrontier frontier,
    List<Verdict> verdicts) {
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
   * A claim stated beforehand, and what was found.
   *
   * @param claim the claim
   * @param held whether it held; null where the question has no yes or no
   * @param text what was found, in words
   * @param details the same for each model, a line each
   */
  public record Verdict(String claim, Boolean held, String text, List<String> details) {
    /** Returns the claim and what was found in a line. */
    public String line() {
      String answer = held == null ? "undecided" : held ? "held" : "missed";
      return claim + ": " + answer + "; " + text;
    }
  }

  /** Writes the result as JSON, whole or not at all. */
  public void write(Path file) throws IOException {
    byte[] text =
        new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT).writeValueAsBytes(this);
    WholeFile.write(file, channel -> Channels.newOutputStream(channel).write(text));
  }
}
