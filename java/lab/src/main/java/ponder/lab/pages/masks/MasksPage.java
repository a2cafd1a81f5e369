// SPDX-License-Identifier: Apache-2.0
package ponder.lab.pages.masks;

import java.io.PrintStream;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.lab.masks.Corpus;
import ponder.lab.masks.MaskedTraining;
import ponder.lab.masks.MasksResult;
import ponder.lab.masks.SamplingTime;
import ponder.lab.masks.SchemeRow;
import ponder.lab.masks.SchemeTable;
import ponder.lab.report.Table;
import ponder.nn.Encoder;
import ponder.nn.Heads;
import ponder.nn.Parameters;

/**
 * What does it win to mask those words from which a model learns the most?
 *
 * <pre>
 * Claim.    Schemes that weigh whole sets have no bias; weighing words alone has one, for the loss
 *           of a word depends on which others are masked. Picking one of 16 uniform sets by the norm
 *           of its gradient has at most 80 % of the variance of uniform sets. Choosing masks takes
 *           at most 1 % of a training step.
 * Method.   An encoder is trained on uniform masks. Then, for some sentences, the gradient of every
 *           masked word of every one of the 1,024 sets is taken: so the mean and the variance of an
 *           estimate are sums over all outcomes. The sampler's own draws stand beside them.
 * Data.     All 36,864 sentences of a small grammar, or the words of a text.
 * Reading.  "bias": distance from the mean gradient over uniform sets, as a share of its norm.
 *           "variance": of one estimate over that of uniform sets. "draws left": how many of the
 *           draws the weights leave. The control that must fail is weighing words alone.
 * Cost.     2e10 FLOPs of training, half a minute in all on two cores; quick form 3 s.
 * Source.   Zhang, Zhang, arXiv:2008.05333 asks the question; candidate sets with a floor, and the
 *           figures of the toy (ten positions, three masked), are this project's own.
 * </pre>
 */
public final class MasksPage {
  private static final double BIAS = 1e-6;
  private static final double WORDS_BIAS = 0.02;
  private static final double PICKED = 0.8;
  private static final double SHARE = 0.01;

  /**
   * What a run is asked for.
   *
   * @param corpus what is masked
   * @param flops the training FLOPs of the encoder
   * @param sentences how many are studied
   * @param masked words of a sentence that are masked
   * @param draws of each scheme that is not enumerated
   * @param repeats of each timing
   * @param seed of everything random
   * @param command the command line, for the record
   */
  public record Options(
      Corpus corpus,
      long flops,
      int sentences,
      int masked,
      int draws,
      int repeats,
      long seed,
      String command) {}

  private final Device device;
  private final Options options;
  private final PrintStream out;

  /** Makes a page that prints what it finds. */
  public MasksPage(Device device, Options options, PrintStream out) {
    this.device = device;
    this.options = options;
    this.out = out;
  }

  /** Runs the page and returns all that it measured. */
  public MasksResult run() {
    // Data.
    Corpus corpus = options.corpus;
    Key key = Key.of(options.seed);
    out.printf(
        Locale.ROOT,
        "Data: %s, %,d sentences of %d words, %d different; %d of each sentence are masked.%n",
        corpus.name(),
        corpus.sentences().size(),
        corpus.length(),
        corpus.words(),
        options.masked);
    try (Store store = device.store()) {
      // Models.
      Parameters p = Parameters.of(store, DType.F64, key.split("model"));
      Encoder model = Encoder.create(p, corpus.vocabulary(), 1, 16, Heads.of(2));
      long parameters = store.names().stream().mapToLong(name -> store.get(name).size()).sum();

      // Training.
      double loss =
          MaskedTraining.train(
              store, model, corpus, key.split("data"), options.masked, options.flops);
      out.printf(
          Locale.ROOT,
          "Encoder: %,d parameters, after %.1e FLOPs %.4f nats a masked word.%n",
          parameters,
          (double) options.flops,
          loss);

      // Measurement.
      var table = new SchemeTable();
      int[] studied = key.split("studied").ints(options.sentences, corpus.sentences().size());
      for (int i = 0; i < studied.length; i++) {
        table.add(
            device,
            store,
            model,
            corpus.mask(),
            options.masked,
            options.draws,
            key.split("draws").split(i),
            corpus.sentences().get(studied[i]));
      }
      List<SamplingTime> times = SamplingTime.measure(device, options.repeats);

      // Table and claim.
      List<SchemeRow> rows = table.rows();
      print(rows, times, table.ceiling());
      List<MasksResult.Verdict> verdicts = verdicts(rows, times);
      verdicts.forEach(v -> out.println(v.line()));
      return new MasksResult(
          options.command,
          corpus.name(),
          options.sentences,
          corpus.length(),
          options.masked,
          parameters,
          loss,
          table.ceiling(),
          rows,
          times,
          verdicts);
    }
  }

  private void print(List<SchemeRow> rows, List<SamplingTime> times, double ceiling) {
    out.println();
    var table = new Table("scheme", "method", "bias", "by chance", "variance", "draws left", "toy");
    for (SchemeRow row : rows) {
      table.row(
          row.scheme(),
          row.method(),
          text("%.2e", row.bias()),
          row.biasLimit() == 0 ? "-" : text("%.2e", row.biasLimit()),
          text("%.3f", row.variance()),
          text("%.2f", row.effective()),
          Double.isNaN(row.toy()) ? "-" : text("%.3f", row.toy()));
    }
    out.print(table);
    out.printf(Locale.ROOT, "%nAt most %.2f times can be won by any choice of sets.%n%n", ceiling);
    var timing = new Table("choice of 16 x 128", "microseconds", "share of a step");
    for (SamplingTime time : times) {
      timing.row(
          time.scheme(), text("%.1f", 1e6 * time.seconds()), text("%.3f %%", 100 * time.share()));
    }
    out.println(timing);
  }

  private static String text(String format, double value) {
    return String.format(Locale.ROOT, format, value);
  }

  private List<MasksResult.Verdict> verdicts(List<SchemeRow> rows, List<SamplingTime> times) {
    List<MasksResult.Verdict> verdicts = new ArrayList<>();
    double worst = 0;
    for (String name :
        Arrays.asList(
            "uniform",
            "partition",
            "conditional Poisson, sets",
            "conditional Poisson, sets, half",
            "best over sets")) {
      worst = Math.max(worst, row(rows, name).bias());
    }
    SchemeRow candidates = row(rows, "drawn: candidates");
    verdicts.add(
        new MasksResult.Verdict(
            "Weights of whole sets leave no bias",
            worst <= BIAS && candidates.bias() <= candidates.biasLimit(),
            text("enumerated at most %.1e", worst)
                + text(", the sampler's candidates %.1e", candidates.bias())
                + text(" where chance allows %.1e", candidates.biasLimit())));
    double words = row(rows, "conditional Poisson, words").bias();
    verdicts.add(
        new MasksResult.Verdict(
            "Weights of words alone have a bias", words >= WORDS_BIAS, text("%.3f", words)));
    double picked = row(rows, "16 candidates, norm known").variance();
    verdicts.add(
        new MasksResult.Verdict(
            "One of 16 sets, picked by its norm, has at most 80 % of the variance",
            picked <= PICKED, text("%.1f %%", 100 * picked)));
    double share = times.stream().mapToDouble(SamplingTime::share).max().orElse(Double.NaN);
    verdicts.add(
        new MasksResult.Verdict(
            "Choosing masks takes at most 1 % of a step",
            share <= SHARE, text("at most %.3f %%", 100 * share)));
    return verdicts;
  }

  private static SchemeRow row(List<SchemeRow> rows, String scheme) {
    return rows.stream().filter(r -> r.scheme().equals(scheme)).findAny().orElseThrow();
  }
}
