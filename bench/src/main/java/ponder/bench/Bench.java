// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;

/**
 * The one benchmark: a row of the table, ours or a rival's, in a process of its own. The row is
 * checked before anything is timed; the peak that it is divided by is measured after every
 * iteration, in the same process.
 */
@State(Scope.Benchmark) // of one thread, so that the counters see the subject that is run
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
public class Bench {
  /** The row's name. */
  @Param("")
  public String row;

  /** Ours, or a rival's name. */
  @Param("ours")
  public String side;

  /** What computes: cpu, cuda or cuda:N. */
  @Param("cpu")
  public String device;

  /** How often the gate compares the bits; 0 leaves it open. */
  @Param("100")
  public int repeats;

  /** How long it waits at most until the compiler is silent. */
  @Param("20000")
  public int silenceMillis;

  /** What an iteration used of the machine, and what it is divided by. */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.EVENTS)
  public static class Counted {
    /** Runs. */
    public long runs;

    /** Processor time: of one thread its own, without the JVM's others; of more the process's. */
    public long cpuNanos;

    /** Time gone by. */
    public long wallNanos;

    /** Cores lost to somebody else. */
    public long switches;

    /** Time that the machine's host took. */
    public long stealNanos;

    /** The peak's rate around the iteration, of one thread. */
    public double peak;

    /** Operations of one run, as the engine's meter counts them. */
    public double flops;

    /** Those of them in matrix products. */
    public double matrixFlops;

    /** Bytes that one run reads and writes. */
    public double bytes;

    /** Numbers or tokens that one run makes. */
    public double elements;

    /** What one run does, in the peak's unit. */
    public double amount;

    /** The time in which nearly all runs were done. */
    public double latencyNanos;

    private Usage before;
    private double peakBefore;

    /** Begins an iteration. */
    @Setup(Level.Iteration)
    public void begin(Bench bench) {
      bench.subject.begin();
      peakBefore = bench.peak();
      before = Usage.now();
    }

    /** Ends an iteration. */
    @TearDown(Level.Iteration)
    public void end(Bench bench) {
      Usage used = Usage.now().since(before);
      Subject subject = bench.subject;
      cpuNanos = bench.timed.onOneThread() ? used.ownNanos() : used.cpuNanos();
      wallNanos = used.wallNanos();
      switches = used.switches();
      stealNanos = used.stealNanos();
      flops = subject.work().flops();
      matrixFlops = subject.work().matrixFlops();
      bytes = subject.work().bytes();
      elements = subject.elements();
      peak = (peakBefore + bench.peak()) / 2;
      Peak of = bench.timed.peak();
      amount = of == null ? 0 : subject.amount(of);
      latencyNanos = subject.latencyNanos();
      subject.end();
    }
  }

  private Row timed;
  private Subject subject;

  /** Makes what the row times, checks it and warms it up. */
  @Setup
  public void open() {
    timed = Rows.of(row);
    subject = Subjects.of(timed, side, device);
    if (repeats > 0) subject.check(repeats);
    WarmUp.run(subject, 1_000_000L * silenceMillis);
  }

  /** Returns the rate of the row's peak now; 0 where it has none. */
  private double peak() {
    return timed.peak() == null || !device.equals("cpu") ? 0 : timed.peak().rate();
  }

  /** Closes what was timed. */
  @TearDown
  public void close() {
    subject.close();
  }

  /** One run. */
  @Benchmark
  public Object run(Counted counted) {
    counted.runs++;
    return subject.run();
  }
}
