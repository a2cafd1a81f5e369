// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import ponder.DType;
import ponder.Device;
import ponder.lab.cities.Cities;
import ponder.lab.cities.City;
import ponder.lab.cities.CityFilter;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.Connectivity;
import ponder.lab.cities.Split;
import ponder.lab.pages.paths.PathsPage;
import ponder.lab.paths.PathsTrial;
import ponder.lab.report.HtmlReport;
import ponder.train.StoppedException;

/** {@code ponder paths}: trains on shortest paths between cities and writes a table and a report. */
@Command(
    name = "paths",
    description = {
      "Trains a GRU, two transformers and a looped one on shortest paths between cities, to the",
      "same FLOPs and to parts of them, and asks for paths they have not seen, with more and more",
      "compute: several draws, wider beams, more rounds."
    },
    mixinStandardHelpOptions = true,
    sortOptions = false)
final class PathsCommand implements Callable<Integer> {
  /** The exit code of a process that was asked to end by SIGINT. */
  private static final int INTERRUPTED = 130;

  private static final Map<String, DType> PRECISIONS = Map.of("f32", DType.F32, "bf16", DType.BF16);

  @Spec private CommandSpec spec;

  @Option(
      names = "--cities",
      paramLabel = "FILE",
      description =
          "cities to use instead of the 300 built in: a city table, the Census Gazetteer's places,"
              + " or GeoNames' US.txt; .gz is read too")
  private Path cities;

  @Option(
      names = "--top",
      paramLabel = "N",
      description = "of the cities of FILE, the N most populous; 0 takes all (default: 0)")
  private int top;

  @Option(
      names = "--min-population",
      paramLabel = "N",
      description = "of the cities of FILE, those with at least N people")
  private long minPopulation;

  @Option(
      names = "--states",
      paramLabel = "CODE",
      split = ",",
      description =
          "of the cities of FILE, those in these states, such as OH,IN (default: the contiguous"
              + " states)")
  private Set<String> states = Set.of();

  @Option(
      names = "--radius-km",
      paramLabel = "R",
      description = "cities at most this far apart are joined (default: 400; 160 with --cities)")
  private Double radius;

  @Option(names = "--dag", description = "edges from west to east only")
  private boolean dag;

  @Option(
      names = "--split",
      paramLabel = "NAME",
      defaultValue = "clean",
      description =
          "which pairs are held out: ordered, clean, unseen-target, unseen-region, longer-path"
              + " (default: clean)")
  private String split;

  @Option(
      names = "--budget",
      paramLabel = "FLOPS",
      description = "full training FLOPs of each model (default: 4e12; quick: 1e11)")
  private Double budget;

  @Option(
      names = {"--models", "--model"},
      paramLabel = "NAME",
      split = ",",
      description =
          "which models: gru, transformer-small, transformer, looped (default: these), lstm,"
              + " linear, gated, delta, gated-delta, feedback, memory, memory-tokens")
  private List<String> models = PathsPage.USUAL_MODELS;

  @Option(
      names = "--fractions",
      paramLabel = "F",
      split = ",",
      description =
          "the training budgets, as parts of the full one (default: 1,0.25,0.0625,0.015625)")
  private List<Double> fractions = PathsPage.FRACTIONS;

  @Option(
      names = "--batch",
      paramLabel = "N",
      description = "paths in a training batch, a power of two up to 1024 (default: 64; quick: 16)")
  private Integer batch;

  @Option(
      names = "--seeds",
      paramLabel = "N",
      defaultValue = "1",
      description = "how many seeds (default: 1)")
  private int seeds;

  @Option(
      names = "--seed",
      paramLabel = "S",
      defaultValue = "1",
      description = "the first seed (default: 1)")
  private long seed;

  @Option(
      names = "--queries",
      paramLabel = "N",
      description = "test queries (default: 300; quick: 100)")
  private Integer queries;

  @Option(
      names = "--samples",
      paramLabel = "N",
      description = "paths drawn for each query, a power of two (default: 64; quick: 8)")
  private Integer samples;

  @Option(
      names = "--temperature",
      paramLabel = "T",
      defaultValue = "1",
      description = "of the draws; 1 draws from the model itself (default: 1)")
  private double temperature;

  @Option(
      names = "--beam",
      paramLabel = "N",
      description = "width of the widest beam, a power of two (default: 16; quick: 4)")
  private Integer beam;

  @Option(
      names = "--rounds",
      paramLabel = "N",
      description =
          "the most rounds of the looped model, a power of two from 4 on (default: 64; quick: 8)")
  private Integer rounds;

  @Option(
      names = "--reversed",
      description = "paths are written from the target back to the source")
  private boolean reversed;

  @Option(
      names = "--precision",
      paramLabel = "TYPE",
      defaultValue = "f32",
      description =
          "what products, attention, recurrent scans and memory that only adds take: f32, or bf16,"
              + " with sums, parameters and all else in f32 (default: f32)")
  private String precision;

  @Mixin private DeviceOption device = new DeviceOption();

  @Option(
      names = "--out",
      paramLabel = "DIR",
      defaultValue = "out/paths",
      description = "where results, logs and parameters go (default: out/paths)")
  private Path folder;

  @Option(names = "--quick", description = "a small run of at most 30 seconds")
  private boolean quick;

  @Option(
      names = "--resume",
      description =
          "go on with the run in DIR, which was stopped or killed; options that decide a result"
              + " must be as they were, but there may be other --models, --fractions and --seeds")
  private boolean resume;

  @Option(
      names = "--checkpoint-seconds",
      paramLabel = "S",
      defaultValue = "30",
      description = "how often a training run is written down (default: 30)")
  private double checkpointSeconds;

  PathsCommand() {}

  @Override
  public Integer call() throws IOException {
    device.check();
    double flops = budget != null ? budget : quick ? 1e11 : 4e12;
    require(flops >= 1 && flops < 1e18, "--budget", flops, "between 1 and 1e18");
    for (String model : models) {
      require(PathsPage.MODELS.contains(model), "--models", model, "one of " + PathsPage.MODELS);
    }
    for (double fraction : fractions) {
      boolean isPart = fraction > 0 && fraction <= 1 && flops * fraction >= 1;
      require(isPart, "--fractions", fraction, "above 0 and at most 1");
    }
    requirePower(1, "--batch", batch);
    requirePower(1, "--samples", samples);
    requirePower(1, "--beam", beam);
    requirePower(4, "--rounds", rounds);
    require(PRECISIONS.containsKey(precision), "--precision", precision, "f32 or bf16");
    require(temperature > 0 && temperature < 100, "--temperature", temperature, "in (0, 100)");
    require(seeds >= 1, "--seeds", seeds, "at least 1");
    require(queries == null || queries >= 1, "--queries", queries, "at least 1");
    require(checkpointSeconds > 0, "--checkpoint-seconds", checkpointSeconds, "above 0");
    require(radius == null || radius > 0, "--radius-km", radius, "above 0");
    require(top >= 0, "--top", top, "0 or more");
    require(minPopulation >= 0, "--min-population", minPopulation, "0 or more");
    require(Split.NAMES.contains(split), "--split", split, "one of " + Split.NAMES);
    boolean narrowed = top > 0 || minPopulation > 0 || !states.isEmpty();
    require(cities != null || !narrowed, "--top, --min-population, --states", "", "with --cities");

    Files.createDirectories(folder);
    try (FolderLock own = FolderLock.take(folder).orElse(null)) {
      require(own != null, "--out", folder, "a folder that no other run is using");
      requireSpace();
      return run((long) flops);
    }
  }

  private int run(long flops) throws IOException {
    CityGraph graph = graph();
    Connectivity.requireOneMap(graph);
    PathsPage.Options options =
        new PathsPage.Options(
            graph,
            split,
            reversed,
            models.stream().distinct().toList(),
            fractions.stream().distinct().toList(),
            flops,
            batch != null ? batch : quick ? 16 : 64,
            seeds,
            seed,
            queries != null ? queries : quick ? 100 : 300,
            samples != null ? samples : quick ? 8 : 64,
            temperature,
            beam != null ? beam : quick ? 4 : 16,
            rounds != null ? rounds : quick ? 8 : 64,
            PRECISIONS.get(precision),
            command(),
            System.getProperty("ponder.commit"));
    PrintStream out = System.out;
    try (Interruption interruption = new Interruption(out, "./" + command() + " --resume");
        Device device = this.device.open()) {
      PathsTrial.Keeping keeping =
          new PathsTrial.Keeping(
              folder,
              Main.version(),
              arguments(options),
              resume,
              checkpointSeconds,
              interruption::isAsked);
      boolean terminal = System.console() != null && System.console().isTerminal();
      PathsPage.Findings found = new PathsPage(device, options, keeping, out, terminal).run();
      Path file = folder.resolve("results.json");
      found.result().write(file);
      Path page = folder.resolve("report.html");
      HtmlReport.write(page, found.report());
      out.println("Everything measured is in " + file + "; to look at: " + page + ".");
    } catch (StoppedException e) {
      return INTERRUPTED;
    }
    return 0;
  }

  /** Returns what a resumed run must have in common with the one that was stopped. */
  private Map<String, String> arguments(PathsPage.Options options) {
    Map<String, String> arguments = new HashMap<>();
    arguments.put("the graph", options.graph().fingerprint());
    arguments.put("--split", options.split());
    if (!device.name().equals("cpu")) {
      arguments.put("--device", device.name());
    }
    if (!precision.equals("f32")) {
      arguments.put("--precision", precision);
    }
    arguments.put("--reversed", String.valueOf(options.reversed()));
    arguments.put("--budget", String.valueOf(options.flops()));
    arguments.put("--batch", String.valueOf(options.batch()));
    arguments.put("--seed", String.valueOf(options.seed()));
    arguments.put("--queries", String.valueOf(options.queries()));
    arguments.put("--samples", String.valueOf(options.samples()));
    arguments.put("--temperature", String.valueOf(options.temperature()));
    arguments.put("--beam", String.valueOf(options.width()));
    arguments.put("--rounds", String.valueOf(options.rounds()));
    return arguments;
  }

  private String command() {
    List<String> given = spec.commandLine().getParent().getParseResult().originalArgs();
    return "ponder " + String.join(" ", given.stream().filter(a -> !a.equals("--resume")).toList());
  }

  private CityGraph graph() throws IOException {
    List<City> chosen = cities == null ? Cities.embedded() : Cities.read(cities);
    if (cities != null) {
      Set<String> codes = states.isEmpty() ? CityFilter.CONTIGUOUS : new TreeSet<>(states);
      chosen = new CityFilter(top, minPopulation, codes).select(chosen);
    }
    double usual =
        cities == null ? CityGraph.EMBEDDED_RADIUS_KILOMETRES : CityGraph.FILE_RADIUS_KILOMETRES;
    CityGraph.Orientation orientation =
        dag ? CityGraph.Orientation.WEST_TO_EAST : CityGraph.Orientation.BOTH_WAYS;
    return CityGraph.of(chosen, radius == null ? usual : radius, orientation);
  }

  /** Finds out before hours of training whether results can be written. */
  private void requireSpace() throws IOException {
    Path probe = Files.createTempFile(folder, "probe", ".part");
    try {
      Files.write(probe, new byte[1 << 16]);
    } finally {
      Files.deleteIfExists(probe);
    }
  }

  private void requirePower(int least, String option, Integer value) {
    boolean holds =
        value == null || Integer.bitCount(value) == 1 && value >= least && value <= 1024;
    require(holds, option, value, "a power of two from " + least + " to 1024");
  }

  private void require(boolean holds, String option, Object value, String rule) {
    if (!holds) {
      throw new ParameterException(
          spec.commandLine(), option + " " + value + " must be " + rule + ".");
    }
  }
}
