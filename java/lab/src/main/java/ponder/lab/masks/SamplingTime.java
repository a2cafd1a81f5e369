// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.nn.Encoder;
import ponder.nn.Heads;
import ponder.nn.Parameters;
import ponder.op.Masking;

/**
 * How long choosing masks takes beside the step that trains on them: an encoder of 4 layers, width
 * 128, on 16 sentences of 128 words.
 *
 * @param scheme how masks are chosen, 15 % of the words
 * @param seconds the median time of a choice
 * @param share of the median time of a step: loss and gradient
 */
public record SamplingTime(String scheme, double seconds, double share) {
  private static final int ROWS = 16;
  private static final int LENGTH = 128;
  private static final int VOCABULARY = 2048;

  /** Returns the time of each scheme, steps and choices timed in turns. */
  public static List<SamplingTime> measure(Device device, int repeats) {
    Masking.Scheme[] schemes = Masking.Scheme.values();
    var seconds = new double[schemes.length + 1][repeats];
    try (Store store = device.store();
        Scope held = device.open()) {
      Encoder model =
          Encoder.create(Parameters.of(store, Key.of(1)), VOCABULARY, 4, 128, Heads.of(4));
      Tensor[] parameters = store.names().stream().map(store::get).toArray(Tensor[]::new);
      Shape shape = Shape.of(ROWS, LENGTH);
      Tensor tokens = held.indices(shape, Key.of(2).ints(ROWS * LENGTH, VOCABULARY - 1));
      Tensor logits = held.uniform(DType.F32, shape, Key.of(3));
      Tensor step = held.indices(Shape.of(2), 1, 0);
      Tensor uniform = held.full(DType.F32, shape, 0);
      Masking of = Masking.of(Masking.Scheme.GUMBEL, Key.of(4), VOCABULARY, VOCABULARY - 1);
      var masked = of.mask(uniform, tokens, step);
      for (int i = -1; i < repeats; i++) {
        int at = Math.max(0, i);
        for (int s = 0; s < schemes.length; s++) {
          Masking one = Masking.of(schemes[s], Key.of(4), VOCABULARY, VOCABULARY - 1);
          seconds[s][at] = timed(device, () -> one.mask(logits, tokens, step));
        }
        seconds[schemes.length][at] =
            timed(
                device,
                () ->
                    Gradient.of(
                        model.losses(masked.corrupted(), masked.label(), null).sum(), parameters));
      }
    }
    double whole = median(seconds[schemes.length]);
    var times = new SamplingTime[schemes.length];
    for (int s = 0; s < schemes.length; s++) {
      String name = schemes[s].name().toLowerCase(Locale.ROOT);
      times[s] = new SamplingTime(name, median(seconds[s]), median(seconds[s]) / whole);
    }
    return List.of(times);
  }

  private static double timed(Device device, Runnable run) {
    long start = System.nanoTime();
    try (Scope scope = device.open()) {
      run.run();
      device.synchronize();
      assert scope != null;
    }
    return 1e-9 * (System.nanoTime() - start);
  }

  private static double median(double[] values) {
    double[] sorted = values.clone();
    Arrays.sort(sorted);
    return sorted[sorted.length / 2];
  }
}
