// SPDX-License-Identifier: Apache-2.0
package ponder.lab.pages.paths;

import java.io.IOException;
import java.io.PrintStream;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Libraries;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.cities.Split;
import ponder.lab.paths.PathsClaims;
import ponder.lab.paths.PathsData;
import ponder.lab.paths.PathsFrontier;
import ponder.lab.paths.PathsReport;
import ponder.lab.paths.PathsResult;
import ponder.lab.paths.PathsRow;
import ponder.lab.paths.PathsTrial;
import ponder.lab.paths.PathsUnit;
import ponder.lab.paths.Recipe;
import ponder.nn.FastWeightsBlock.Rule;
import ponder.nn.FastWeightsModel;
import ponder.nn.FeedbackTransformer;
import ponder.nn.GruModel;
import ponder.nn.Heads;
import ponder.nn.LoopedTransformer;
import ponder.nn.LstmModel;
import ponder.nn.MemoryModel;
import ponder.nn.MemoryTokens;
import ponder.nn.Parameters;
import ponder.nn.RandomRounds;
import ponder.nn.SequenceModel;
import ponder.nn.Transformer;
import ponder.train.Schedule;

/**
 * What does a model that has read shortest paths between cities gain by thinking longer about a new
 * one, and what is that worth in training?
 *
 * <pre>
 * Claim.    (1) The low rates the notes report are what the loss predicts: the share of exact draws
 *           is the mean of exp(-NLL) (chi-squared test over all models, at 5 %). (2) The shortest legal of the
 *           drawn paths solves at least 10 points more queries than the greedy path, at a quarter of
 *           the training or less. (3) The smaller model, thinking as long as it may, catches up with
 *           the larger one answering at once, after equal training FLOPs, whichever way it thinks.
 * Method.   A GRU, two transformers and a looped one, trained to the same measured FLOPs and to
 *           1/4, 1/16 and 1/64 of them; the parameters with the lowest validation loss are asked the
 *           test queries once, in every way to think longer, at 1, 2, 4, ... times the compute.
 * Data.     Shortest paths (Dijkstra) between cities joined where at most the radius apart; tokens
 *           source, target, places, end. Test pairs are held out by the split.
 * Reading.  "solved": legal, at the target, at most 10 % too long; illegal paths stay in the
 *           denominator. "most likely" of 1 is the control: a drawn path taken without a look, which
 *           must gain nothing. "on the map" methods are given the graph; "shortest legal" checks
 *           whole paths on it. "Dijkstra" is exact by construction.
 * Cost.     Four models at 1.33 x 4e12 FLOPs each and their answers: under five minutes on two
 *           cores; quick form 30 s.
 * Source.   The shortest-path data set of the founding notes (a scholar's blog, 2021), built anew.
 *           Difference: several splits, equal FLOPs, invalid paths counted, intervals.
 * </pre>
 */
public final class PathsPage {
  /** The training budgets, as parts of the full one. */
  public static final List<Double> FRACTIONS = List.of(1.0, 1 / 4.0, 1 / 16.0, 1 / 64.0);

  /** The models' names. */
  public static final List<String> MODELS = Stream.of(Kind.values()).map(Kind::title).toList();

  /** The models of the claims, which are trained unless others are asked for. */
  public static final List<String> USUAL_MODELS =
      Stream.of(Kind.GRU, Kind.SMALL, Kind.LARGE, Kind.LOOPED).map(Kind::title).toList();

  private static final long MOST_PAIRS = 40_000_000;
  private static final int SHOWN = 16;

  /**
   * What to run.
   *
   * @param graph the cities and their edges
   * @param split one of {@link Split#NAMES}
   * @param reversed whether paths are written from the target back
   * @param models some of {@link #MODELS}
   * @param fractions the training budgets as parts of the full one, in (0, 1]
   * @param flops the full training FLOPs of each model
   * @param batch paths in a training batch
   * @param seeds how many seeds, from {@code seed} on
   * @param seed the first seed
   * @param queries test queries
   * @param samples paths drawn per query, a power of two
   * @param temperature of the draws
   * @param width of the widest beam, a power of two
   * @param rounds the most rounds of a looped model, a power of two
   * @param products the type that models compute their products, attention and scans in
   * @param command the command line, for the record
   * @param commit the commit that the program was built from, or null
   */
  public record Options(
      CityGraph graph,
      String split,
      boolean reversed,
      List<String> models,
      List<Double> fractions,
      long flops,
      int batch,
      int seeds,
      long seed,
      int queries,
      int samples,
      double temperature,
      int width,
      int rounds,
      DType products,
      String command,
      String commit) {}

  /** A model's kind and size. */
  private enum Kind implements Recipe {
    GRU("gru") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return GruModel.create(p, vocabulary, 2, 192);
      }
    },
    LSTM("lstm") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return LstmModel.create(p, vocabulary, 2, 160);
      }
    },
    SMALL("transformer-small") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return Transformer.create(p, vocabulary, 2, 64, 2);
      }
    },
    LARGE("transformer") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return Transformer.create(p, vocabulary, 3, 128, 4);
      }
    },
    LOOPED("looped") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return LoopedTransformer.create(p, vocabulary, 1, 96, 3, TRAINED_ROUNDS);
      }

      @Override
      public SequenceModel inStep(SequenceModel model, long step, Key key) {
        return new RandomRounds(TRAINED_ROUNDS, PROGRESSIVE, key)
            .of((LoopedTransformer) model, step);
      }
    },
    LINEAR("linear") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return FastWeightsModel.create(p, Rule.LINEAR, vocabulary, 3, 128, 4);
      }
    },
    GATED("gated") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return FastWeightsModel.create(p, Rule.GATED, vocabulary, 3, 128, 4);
      }
    },
    DELTA("delta") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return FastWeightsModel.create(p, Rule.DELTA, vocabulary, 3, 128, 4);
      }
    },
    GATED_DELTA("gated-delta") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return FastWeightsModel.create(p, Rule.GATED_DELTA, vocabulary, 3, 128, 4);
      }
    },
    FEEDBACK("feedback") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return FeedbackTransformer.create(p, vocabulary, 2, 64, Heads.of(2));
      }
    },
    MEMORY("memory") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return MemoryModel.create(p, vocabulary, 2, 64, Heads.of(2).withWindow(4), 8);
      }
    },
    MEMORY_TOKENS("memory-tokens") {
      @Override
      public SequenceModel create(Parameters p, int vocabulary) {
        return MemoryTokens.create(p, vocabulary, 2, 64, Heads.of(2), 4, 8);
      }
    };

    private static final int TRAINED_ROUNDS = 4;
    private static final double PROGRESSIVE = 0.5;

    private final String title;

    Kind(String title) {
      this.title = title;
    }

    @Override
    public String title() {
      return title;
    }

    @Override
    public Schedule schedule() {
      return new Schedule(3e-3, 0.05, 0.02);
    }
  }

  private final Device device;
  private final Options options;
  private final PathsTrial.Keeping keeping;
  private final PrintStream out;
  private final boolean terminal;

  /**
   * Prepares the page.
   *
   * @param keeping how the run is kept on the disk
   * @param out where progress and tables are printed
   * @param terminal whether that is a terminal
   */
  public PathsPage(
      Device device,
      Options options,
      PathsTrial.Keeping keeping,
      PrintStream out,
      boolean terminal) {
    this.device = device;
    this.options = options;
    this.keeping = keeping;
    this.out = out;
    this.terminal = terminal;
  }

  /**
   * What the page found.
   *
   * @param result everything measured
   * @param report the same to look at
   */
  public record Findings(PathsResult result, PathsReport report) {}

  /** Runs the page and returns what it found. */
  public Findings run() throws IOException {
    // Data.
    PathTable table = PathTable.sampled(options.graph, MOST_PAIRS, Key.of(0));
    Split split = Split.named(options.split, table, Key.of(0), Split.Shares.USUAL);
    PathTokens tokens = new PathTokens(table.graph().size(), options.reversed);
    PathsData data = PathsData.of(table, split);
    out.print(data.text());

    // Models, training, measurement.
    PathsTrial trial =
        new PathsTrial(
            device,
            new PathsTrial.Setting(
                table,
                split,
                tokens,
                options.flops,
                options.batch,
                options.queries,
                options.samples,
                options.temperature,
                options.width,
                options.rounds,
                options.products,
                SHOWN),
            keeping,
            out,
            terminal);
    List<PathsUnit> units = new ArrayList<>();
    for (long seed = options.seed; seed < options.seed + options.seeds; seed++) {
      for (double fraction : options.fractions) {
        for (Kind kind : Kind.values()) {
          if (options.models.contains(kind.title)) {
            units.add(trial.run(kind, fraction, seed));
          }
        }
      }
    }
    List<PathsRow> rows = new ArrayList<>();
    trial.baselines().forEach(a -> rows.add(a.row()));
    units.forEach(unit -> unit.answers().forEach(a -> rows.add(a.row())));
    PathsFrontier frontier = PathsFrontier.of(units, Kind.SMALL.title(), Kind.LARGE.title());

    // Table and claim.
    out.println();
    out.print(PathsRow.table(rows.stream().filter(this::isPrinted).toList()));
    out.println();
    List<PathsResult.Verdict> verdicts =
        PathsClaims.of(units, frontier, options.queries, options.samples);
    verdicts.forEach(v -> out.println(v.line()));
    PathsResult.Machine machine =
        new PathsResult.Machine(
            Libraries.platform(),
            device.name().replaceFirst("@.*", ""),
            device.threads(),
            Runtime.version().toString());
    PathsResult result =
        new PathsResult(
            options.command,
            machine,
            data,
            units.stream().map(PathsUnit::training).toList(),
            rows,
            frontier,
            verdicts);
    return new Findings(
        result,
        PathsReport.of(
            result, keeping.program(), options.commit, options.graph, trial.queries(), units));
  }

  /** The terminal shows the least and the most of each method; the file has everything. */
  private boolean isPrinted(PathsRow row) {
    boolean isMost =
        switch (row.method()) {
          case "beam", "beam, best scored" -> row.spend() == options.width;
          case "rounds" -> row.spend() == options.rounds || row.spend() == Kind.TRAINED_ROUNDS;
          case "most likely" -> row.spend() == 1 || row.spend() == options.samples;
          case "best scored", "shortest legal", "shortest on the map" ->
              row.spend() == options.samples;
          default -> true;
        };
    boolean isFull = row.fraction() == options.fractions.stream().max(Double::compare).orElse(1.0);
    return isMost && (isFull || row.trainFlops() == 0);
  }
}
