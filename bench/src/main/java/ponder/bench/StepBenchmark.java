// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.Work;
import ponder.nn.Parameters;
import ponder.nn.Transformer;
import ponder.optim.AdamW;

/**
 * What does a whole training step cost: forward, backward and AdamW? The small shape (4 layers,
 * width 64, one sequence of 16) is nearly all overhead; the others are nearly all arithmetic. The
 * counter {@code flops} is what the meter counted, per second.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 5, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(3)
public class StepBenchmark {
  /** Layers, width, heads, batch, steps, vocabulary. */
  @Param({"4x64x4 b1 t16 v64", "4x128x4 b12 t64 v65", "6x384x6 b8 t256 v65"})
  public String shape;

  /** Threads; 0 is one per core. */
  @Param("0")
  public int threads;

  /** FLOPs counted, as a rate. */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.OPERATIONS)
  public static class Counted {
    /** The meter's FLOPs. */
    public long flops;
  }

  private Device device;
  private Store parameters;
  private Store state;
  private Transformer model;
  private AdamW optimiser;
  private int[] tokens;
  private int batch;
  private int steps;

  /** Makes the model and its optimiser's state. */
  @Setup
  public void open() {
    int[] size =
        IntStream.of(0, 1, 2, 3, 4, 5)
            .map(i -> Integer.parseInt(shape.replaceAll("[^0-9]+", " ").split(" ")[i]))
            .toArray();
    device = Device.cpu(threads);
    parameters = device.store();
    state = device.store();
    model =
        Transformer.create(
            Parameters.of(parameters, Key.of(1)), size[5], size[0], size[1], size[2]);
    batch = size[3];
    steps = size[4];
    tokens = Key.of(2).ints(batch * steps, size[5]);
    optimiser = AdamW.usual();
    optimiser.prepare(parameters, state);
  }

  /** Closes the device. */
  @TearDown
  public void close() {
    device.close();
  }

  /** One step; returns its loss. */
  @Benchmark
  public double step(Counted counted) {
    Work before = device.meter().total();
    double loss;
    try (ponder.Scope scope = device.open()) {
      Tensor batchTokens = scope.indices(Shape.of(batch, steps), tokens);
      Tensor mean = model.losses(batchTokens, batchTokens).mean();
      Tensor[] xs = parameters.values();
      Tensor[] gradients = Gradient.of(mean, xs);
      optimiser.step(
          parameters,
          state,
          gradients,
          scope.tensor(Shape.of(1), 1e-3f),
          scope.tensor(Shape.of(1), 1f));
      loss = mean.item();
    }
    counted.flops += device.meter().since(before).flops();
    return loss;
  }
}
