// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.List;
import ponder.train.WholeFile;

/**
 * Everything a run of the masks page measured.
 *
 * @param command the options that were given
 * @param corpus what was masked
 * @param sentences how many sentences were studied
 * @param words of a sentence
 * @param masked how many of them are masked
 * @param parameters of the encoder
 * @param loss of the trained encoder, in nats a masked word
 * @param ceiling the most that any choice of sets can win: uniform variance and square over the best
 * @param rows one for each scheme
 * @param times how long the choice takes
 * @param verdicts the page's claims, each with what was found
 */
public record MasksResult(
    String command,
    String corpus,
    int sentences,
    int words,
    int masked,
    long parameters,
    double loss,
    double ceiling,
    List<SchemeRow> rows,
    List<SamplingTime> times,
    List<Verdict> verdicts) {
  /**
   * A claim stated beforehand, and what was found.
   *
   * @param claim the claim
   * @param held whether it held
   * @param text what was found, in words
   */
  public record Verdict(String claim, boolean held, String text) {
    /** Returns the claim and what was found in a line. */
    public String line() {
      return claim + ": " + (held ? "held" : "missed") + "; " + text;
    }
  }

  /** Writes the result as JSON, whole or not at all. */
  public void write(Path file) throws IOException {
    byte[] text =
        new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT).writeValueAsBytes(this);
    WholeFile.write(file, channel -> Channels.newOutputStream(channel).write(text));
  }
}
