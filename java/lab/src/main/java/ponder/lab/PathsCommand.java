// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import ponder.Device;
import ponder.lab.cities.Cities;
import ponder.lab.cities.City;
import ponder.lab.cities.CityFilter;
import ponder.lab.cities.CityGraph;
import ponder.lab.cities.Connectivity;
import ponder.lab.cities.Split;
import ponder.lab.pages.paths.PathsPage;
import ponder.lab.paths.PathsResult;

/** {@code ponder paths}: trains on shortest paths between cities and prints one table. */
@Command(
    name = "paths",
    description = {
      "Trains a GRU and two transformers on shortest paths between cities, to the same FLOPs,",
      "and asks them for paths they have not seen: greedily and as the best of several."
    },
    mixinStandardHelpOptions = true,
    sortOptions = false)
final class PathsCommand implements Callable<Integer> {
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
      description = "training FLOPs of each model (default: 4e12; quick: 1.5e11)")
  private Double budget;

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
      description = "test queries (default: 500; quick: 100)")
  private Integer queries;

  @Option(
      names = "--samples",
      paramLabel = "N",
      description = "paths drawn for each query (default: 32; quick: 8)")
  private Integer samples;

  @Option(
      names = "--threads",
      paramLabel = "N",
      defaultValue = "0",
      description = "threads that compute (default: one per core)")
  private int threads;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      defaultValue = "out/paths",
      description = "where results, logs and parameters go (default: out/paths)")
  private Path folder;

  @Option(names = "--quick", description = "a small run of at most 30 seconds")
  private boolean quick;

  PathsCommand() {}

  @Override
  public Integer call() throws IOException {
    double flops = budget != null ? budget : quick ? 1.5e11 : 4e12;
    require(flops >= 1 && flops < 1e18, "--budget", flops, "between 1 and 1e18");
    boolean isBatch = batch == null || (Integer.bitCount(batch) == 1 && batch <= 1024);
    require(isBatch, "--batch", batch, "a power of two up to 1024");
    require(seeds >= 1, "--seeds", seeds, "at least 1");
    require(queries == null || queries >= 1, "--queries", queries, "at least 1");
    require(samples == null || samples >= 1, "--samples", samples, "at least 1");
    require(threads >= 0, "--threads", threads, "0 or more");
    require(radius == null || radius > 0, "--radius-km", radius, "above 0");
    require(top >= 0, "--top", top, "0 or more");
    require(minPopulation >= 0, "--min-population", minPopulation, "0 or more");
    require(Split.NAMES.contains(split), "--split", split, "one of " + Split.NAMES);
    boolean narrowed = top > 0 || minPopulation > 0 || !states.isEmpty();
    require(cities != null || !narrowed, "--top, --min-population, --states", "", "with --cities");

    prepareFolder();
    CityGraph graph = graph();
    Connectivity.requireOneMap(graph);
    PathsPage.Options options =
        new PathsPage.Options(
            graph,
            split,
            (long) flops,
            batch != null ? batch : quick ? 16 : 64,
            seeds,
            seed,
            queries != null ? queries : quick ? 100 : 500,
            samples != null ? samples : quick ? 8 : 32,
            folder,
            "ponder "
                + String.join(" ", spec.commandLine().getParent().getParseResult().originalArgs()));
    PrintStream out = System.out;
    try (Device device = Device.cpu(threads)) {
      PathsResult result = new PathsPage(device, options, out, System.console() != null).run();
      Path file = folder.resolve("results.json");
      result.write(file);
      out.println("Everything measured is in " + file + ".");
    }
    return 0;
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
  private void prepareFolder() throws IOException {
    Files.createDirectories(folder);
    Path probe = Files.createTempFile(folder, "probe", ".part");
    try {
      Files.write(probe, new byte[1 << 16]);
    } finally {
      Files.deleteIfExists(probe);
    }
  }

  private void require(boolean holds, String option, Object value, String rule) {
    if (!holds) {
      throw new ParameterException(
          spec.commandLine(), option + " " + value + " must be " + rule + ".");
    }
  }
}
