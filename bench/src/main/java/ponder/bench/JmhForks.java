// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.openjdk.jmh.profile.GCProfiler;
import org.openjdk.jmh.results.BenchmarkResult;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.options.Options;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/**
 * Forks of JMH: ours, and the rivals of a matrix product.
 *
 * @param device what computes: cpu, cuda or cuda:N
 */
record JmhForks(String device) implements Forks {
  private static final String GARBAGE = "gc.alloc.rate.norm";

  @Override
  public List<String> sides(Row row) {
    List<String> sides = new ArrayList<>(List.of(Subjects.OURS));
    boolean product = row.subject().startsWith("op matmul") && row.onOneThread();
    if (product && device.equals("cpu")) sides.addAll(RivalProduct.present(row.type()));
    return sides;
  }

  @Override
  public Round time(Row row, String side, Effort effort, boolean checked) {
    Options options =
        new OptionsBuilder()
            .include("^" + Bench.class.getName().replace(".", "\\.") + "\\.run$")
            .param("row", row.name())
            .param("side", side)
            .param("device", device)
            .param("repeats", String.valueOf(checked ? effort.repeats() : 0))
            .param("silenceMillis", String.valueOf(effort.silenceMillis()))
            .forks(1)
            .warmupIterations(effort.warmUps())
            .warmupTime(TimeValue.milliseconds(effort.warmUpMillis()))
            .measurementIterations(effort.iterations())
            .measurementTime(TimeValue.milliseconds(effort.millis()))
            .addProfiler(GCProfiler.class)
            .verbosity(VerboseMode.SILENT)
            .shouldFailOnError(true)
            .build();
    try {
      Collection<RunResult> runs = new Runner(options).run();
      return round(runs.iterator().next());
    } catch (RunnerException e) {
      throw reason(e);
    }
  }

  /** Returns what ended a fork: its own exception is among the suppressed ones of JMH's. */
  private static RuntimeException reason(Throwable e) {
    for (Throwable at = e; at != null; at = at.getCause()) {
      if (at instanceof RedGate red) return red;
      for (Throwable other : at.getSuppressed()) {
        RuntimeException found = reason(other);
        if (found instanceof RedGate) return found;
      }
    }
    Throwable root = e;
    while (root.getCause() != null || root.getSuppressed().length > 0) {
      root = root.getCause() != null ? root.getCause() : root.getSuppressed()[0];
    }
    return new IllegalStateException(
        root.getMessage() == null ? root.toString() : root.getMessage(), e);
  }

  private static Round round(RunResult run) {
    List<Sample> samples = new ArrayList<>();
    List<Double> latencies = new ArrayList<>();
    Map<String, Double> last = new HashMap<>();
    for (BenchmarkResult fork : run.getBenchmarkResults()) {
      for (IterationResult iteration : fork.getIterationResults()) {
        iteration.getSecondaryResults().forEach((name, r) -> last.put(name, r.getScore()));
        samples.add(
            new Sample(
                iteration.getPrimaryResult().getScore(),
                last.get("cpuNanos") / last.get("runs"),
                last.get("peak"),
                1e-9 * last.get("wallNanos"),
                last.get("switches"),
                last.get("stealNanos")));
        latencies.add(last.get("latencyNanos"));
      }
    }
    return new Round(
        samples,
        last.get("flops"),
        last.get("bytes"),
        last.get("elements"),
        last.get("amount"),
        last.getOrDefault(GARBAGE, Double.NaN),
        Spread.of(latencies).median());
  }
}
