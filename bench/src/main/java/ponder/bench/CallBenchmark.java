// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import ponder.DType;
import ponder.Device;
import ponder.Shape;
import ponder.Tensor;

/**
 * What does a call cost before any arithmetic? {@code synchronize} crosses into the library, has
 * its context checked and its status read, and does nothing; {@code add} is a whole op on one
 * element: checks, memory, the kernel, the count of its work.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(3)
public class CallBenchmark {
  private Device device;
  private ponder.Scope scope;
  private Tensor one;

  /** Opens a device with one thread. */
  @Setup
  public void open() {
    device = Device.cpu(1);
  }

  /** Gives each iteration an empty scope: what the ops take is given back at its end. */
  @Setup(Level.Iteration)
  public void begin() {
    scope = device.open();
    one = scope.full(DType.F32, Shape.of(1), 1);
  }

  /** Closes the iteration's scope. */
  @TearDown(Level.Iteration)
  public void end() {
    scope.close();
  }

  /** Closes the device. */
  @TearDown
  public void close() {
    device.close();
  }

  /** A call that does nothing. */
  @Benchmark
  public void synchronize() {
    device.synchronize();
  }

  /** An op on one element, in a scope of its own. */
  @Benchmark
  public Tensor add() {
    ponder.Scope own = device.openUnrecorded();
    Tensor sum = one.add(one);
    own.close();
    return sum;
  }
}
