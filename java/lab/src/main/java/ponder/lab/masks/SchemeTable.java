// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.nn.Encoder;
import ponder.op.Masking;

/** The outcomes of every scheme, added up over sentences. */
public final class SchemeTable {
  /** Variances over that of uniform sets in an interacting toy of ten positions, three masked. */
  private static final Map<String, Double> TOY =
      Map.of(
          "uniform", 1.0,
          "conditional Poisson, words", 138.0 / 518,
          "conditional Poisson, sets", 1249.0 / 518,
          "conditional Poisson, sets, half", 413.0 / 518,
          "4 candidates, norm known", 334.0 / 518,
          "16 candidates, norm known", 288.0 / 518,
          "64 candidates, norm known", 276.0 / 518,
          "4 candidates, norm guessed", 388.0 / 518,
          "16 candidates, norm guessed", 358.0 / 518,
          "best over sets", 269.0 / 518);

  private static final class Sum {
    String method;
    double bias;
    double error;
    double variance;
    double effective;
  }

  private final Map<String, Sum> sums = new LinkedHashMap<>();
  private double size;
  private double ceiling;
  private int sentences;

  /** Makes a table of nothing. */
  public SchemeTable() {}

  /**
   * Adds a sentence.
   *
   * @param model an encoder, its parameters the store's
   * @param mask the number of the mask token
   * @param k how many words are masked
   * @param draws of each scheme that is not enumerated
   */
  public void add(
      Device device, Store store, Encoder model, int mask, int k, int draws, Key key, int... of) {
    var study = new SentenceStudy(TokenGradients.of(device, store, model, mask, of), k);
    study.enumerated().forEach(this::add);
    for (Masking.Scheme scheme : Masking.Scheme.values()) {
      boolean whole = scheme == Masking.Scheme.CANDIDATES;
      double[] logits = study.logNorms();
      DrawnSets drawn = DrawnSets.of(device, scheme, key.split(scheme.name()), draws, k, logits);
      String name = "drawn: " + scheme.name().toLowerCase(Locale.ROOT);
      add(name, study.drawn(drawn.chosen(), drawn.weight(), whole));
    }
    study.candidates(draws, key.split("candidates").value()).forEach(this::add);
    size += study.size();
    ceiling += study.ceiling();
    sentences++;
  }

  private void add(String scheme, SentenceStudy.Outcome outcome) {
    Sum sum = sums.computeIfAbsent(scheme, s -> new Sum());
    sum.method = outcome.method();
    sum.bias += outcome.squaredBias();
    sum.error += outcome.biasError() * outcome.biasError();
    sum.variance += outcome.variance();
    sum.effective += outcome.ess();
  }

  /** Returns the mean ceiling 1 + CV^2. */
  public double ceiling() {
    return ceiling / sentences;
  }

  /** Returns a row for each scheme. */
  public List<SchemeRow> rows() {
    double uniform = sums.get("uniform").variance;
    List<SchemeRow> rows = new ArrayList<>();
    sums.forEach(
        (name, sum) ->
            rows.add(
                new SchemeRow(
                    name,
                    sum.method,
                    Math.sqrt(sum.bias / size),
                    4 * Math.sqrt(sum.error / size),
                    sum.variance / uniform,
                    sum.effective / sentences,
                    TOY.getOrDefault(name, Double.NaN))));
    return rows;
  }
}
