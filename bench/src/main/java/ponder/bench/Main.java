// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.function.Consumer;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import java.util.stream.Stream;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Parameters;
import picocli.CommandLine.Spec;

/**
 * {@code ponder bench}: times the rows of the table and writes what came out. Exit codes: 0 done, 1
 * a row's answer is wrong or something failed, 2 wrong usage.
 */
@Command(
    name = "ponder bench",
    description = {
      "Times the engine and its rivals on one table of shapes, each figure in a process of its"
          + " own,",
      "after a check of the answer. Writes one JSON file and one Markdown page for this machine."
    },
    mixinStandardHelpOptions = true,
    sortOptions = false)
public final class Main implements Callable<Integer> {
  private static final Pattern DEVICE = Pattern.compile("cpu|cuda(:\\d{1,4})?");

  /** Trainings of each model under each budget; a quick run makes one. */
  private static final int SEEDS = 2;

  @Spec private CommandSpec spec;

  @Parameters(
      arity = "0..1",
      paramLabel = "REGEX",
      defaultValue = "",
      description = "which rows: those whose names have a part that matches (default: all)")
  private String regex;

  @Option(
      names = "--quick",
      description = "fewer rows, one round, short iterations: under 3 minutes on two cores")
  private boolean quick;

  @Option(
      names = "--rounds",
      paramLabel = "N",
      description = "forks of each side, taken in turns (default: 5; quick: 1)")
  private Integer rounds;

  @Option(names = "--peers", description = "time PyTorch too, on the same shapes")
  private boolean peers;

  @Option(
      names = "--python",
      paramLabel = "FILE",
      defaultValue = "${env:PONDER_PYTHON:-python3}",
      description = "the Python that has PyTorch (default: $PONDER_PYTHON, or python3)")
  private String python;

  @Option(
      names = "--device",
      paramLabel = "NAME",
      defaultValue = "cpu",
      description = "what computes: cpu, cuda or cuda:N (default: cpu)")
  private String device;

  @Option(
      names = "--out",
      paramLabel = "DIR",
      description = "where the results go (default: bench/results; quick: build/bench)")
  private String out;

  @Option(names = "--list", description = "print the rows and their targets, and stop")
  private boolean list;

  @Option(
      names = "--readme",
      description = "bring the pages and the README up to the results that are there, and stop")
  private boolean readme;

  /** Made by picocli. */
  public Main() {}

  /** Runs the command line and ends the process with its exit code. */
  public static void main(String[] args) {
    System.exit(run(args));
  }

  /** Runs the command line and returns its exit code. */
  static int run(String... args) {
    return new CommandLine(new Main())
        .setParameterExceptionHandler(
            (e, arguments) -> {
              PrintWriter err = e.getCommandLine().getErr();
              err.println("ponder: " + e.getMessage());
              err.println("Try: ./ponder bench --help");
              return CommandLine.ExitCode.USAGE;
            })
        .setExecutionExceptionHandler(
            (e, command, parsed) -> {
              command.getErr().println("ponder: " + (e.getMessage() == null ? e : e.getMessage()));
              return CommandLine.ExitCode.SOFTWARE;
            })
        .execute(args);
  }

  @Override
  public Integer call() throws IOException {
    PrintWriter print = spec.commandLine().getOut();
    if (readme) {
      render();
      return CommandLine.ExitCode.OK;
    }
    List<Row> rows = rows();
    if (list) {
      rows.forEach(r -> print.println(r.name() + (r.target() == null ? "" : "  " + r.target())));
      return CommandLine.ExitCode.OK;
    }
    Effort effort = quick ? Effort.QUICK : Effort.FULL;
    if (rounds != null) effort = effort.rounds(rounds);
    List<Forks> forks = new ArrayList<>(List.of(new JmhForks(device)));
    if (peers) forks.add(PyTorch.find(python));
    var run =
        new Entry.Run(
            LocalDate.now(ZoneOffset.UTC).toString(),
            System.getProperty("ponder.commit", "unknown"),
            device,
            quick);
    Machine machine = Machine.here();
    Path file = folder().resolve(machine.slug() + ".json");
    Results results = Results.readOrEmpty(file, machine);
    Consumer<String> progress =
        line -> {
          print.println(line);
          print.flush();
        };
    // Trained before anything is timed; the forks open the files.
    BudgetCache trained = rows.stream().anyMatch(BudgetWay::isOf) ? BudgetCache.of(device) : null;
    int seeds = quick ? 1 : SEEDS;
    if (trained != null) trained.train(rows, seeds, progress);
    Suite suite = new Suite(forks, effort, progress);
    List<String> failed = new ArrayList<>();
    int red = 0;
    Files.createDirectories(file.getParent());
    // Each group is written as it ends: a run of hours that is stopped has lost the last one.
    for (List<Row> group : Rows.groups(rows)) {
      Suite.Outcome outcome = suite.run(group, run);
      failed.addAll(outcome.failed());
      red += outcome.red();
      results = results.with(machine, outcome.entries(), Rows.all());
      write(results, file);
    }
    if (trained != null) {
      Map<String, Entry> timed = results.of(device, quick);
      List<BudgetExam> exams = trained.exams(Rows.all(), timed.keySet(), seeds);
      results = results.with(BudgetFindings.of(trained.task().setting(), device, exams, timed));
      write(results, file);
    }
    failed.forEach(sentence -> print.println("not timed: " + sentence));
    print.println(file.resolveSibling(machine.slug() + ".md"));
    if (red > 0) print.println(red + " of " + rows.size() + " rows gave a wrong answer.");
    return red == 0 && failed.isEmpty() ? CommandLine.ExitCode.OK : CommandLine.ExitCode.SOFTWARE;
  }

  private static void write(Results results, Path file) throws IOException {
    results.write(file);
    results.writePage(file.getParent(), Rows.all());
  }

  private List<Row> rows() {
    if (!DEVICE.matcher(device).matches()) {
      throw refusal("--device is " + device + ", must be cpu, cuda or cuda:N");
    }
    if (rounds != null && rounds < 1) {
      throw refusal("--rounds is " + rounds + ", must be 1 or more");
    }
    List<Row> rows;
    try {
      rows = Rows.matching(regex, quick);
    } catch (PatternSyntaxException e) {
      throw refusal("REGEX is " + regex + ": " + e.getDescription());
    }
    if (rows.isEmpty()) {
      throw refusal("no row" + (quick ? " of the quick ones" : "") + " matches " + regex);
    }
    return rows;
  }

  /** Relative to where the launcher was called, which works in the repository's root. */
  private Path folder() {
    if (out == null) return Path.of(quick ? "build/bench" : "bench/results");
    return Path.of(System.getProperty("ponder.bench.here", "")).resolve(out);
  }

  private static void render() throws IOException {
    Path folder = Path.of("bench/results");
    List<Results> machines = new ArrayList<>();
    try (Stream<Path> files = Files.list(folder)) {
      for (Path file : files.filter(f -> f.toString().endsWith(".json")).sorted().toList()) {
        Results results = Results.read(file);
        machines.add(results);
        results.writePage(folder, Rows.all());
      }
    }
    Path readme = Path.of("README.md");
    Files.writeString(readme, Readme.with(Files.readString(readme), machines, Rows.all()));
  }

  private ParameterException refusal(String sentence) {
    return new ParameterException(spec.commandLine(), sentence);
  }
}
