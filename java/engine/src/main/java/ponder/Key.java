// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.nio.charset.StandardCharsets;
import java.util.random.RandomGenerator;

/**
 * What a random number depends on, as a value. The same key gives the same numbers, always; there
 * is no generator to advance. Derive one key for each purpose: {@code key.split("layer0")}, {@code
 * key.split(step)}. Numbers come from Philox4x32-10.
 *
 * @param value the key's 64 bits
 */
public record Key(long value) {
  // Derivation reads counters whose last word numbers never have.
  private static final int DERIVATION = 0x53504C54;

  /** Returns the key of a seed. */
  public static Key of(long seed) {
    return new Key(seed);
  }

  /** Returns the key derived from this one by a name. */
  public Key split(String name) {
    byte[] bytes = name.getBytes(StandardCharsets.UTF_8);
    long key = derived(value, bytes.length, 1);
    for (int at = 0; at < bytes.length; at += Long.BYTES) {
      long chunk = 0;
      for (int i = at; i < Math.min(bytes.length, at + Long.BYTES); i++) {
        chunk |= (bytes[i] & 0xFFL) << 8 * (i - at);
      }
      key = derived(key, chunk, 2);
    }
    return new Key(key);
  }

  /** Returns the key derived from this one by a number. */
  public Key split(long number) {
    return new Key(derived(value, number, 0));
  }

  private static long derived(long key, long number, int kind) {
    int[] words = new int[4];
    Philox.block(words, (int) number, (int) (number >>> 32), kind, DERIVATION, key);
    return (words[0] & 0xFFFFFFFFL) | (long) words[1] << 32;
  }

  private Philox.Stream stream(String what, int n) {
    if (n < 0) {
      throw new IllegalArgumentException(what + ": n is " + n + ", must be at least 0");
    }
    return new Philox.Stream(value);
  }

  /** Returns n numbers, uniform in [0, 1) with 24 bits each. */
  public float[] uniformFloats(int n) {
    Philox.Stream stream = stream("uniformFloats", n);
    float[] numbers = new float[n];
    for (int i = 0; i < n; i++) {
      numbers[i] = stream.uniformFloat();
    }
    return numbers;
  }

  /** Returns n numbers, uniform in [0, 1) with 53 bits each. */
  public double[] uniformDoubles(int n) {
    Philox.Stream stream = stream("uniformDoubles", n);
    double[] numbers = new double[n];
    for (int i = 0; i < n; i++) {
      numbers[i] = stream.uniformDouble();
    }
    return numbers;
  }

  /**
   * Returns n numbers of the standard normal distribution. Source: Box, Muller, "A note on the
   * generation of random normal deviates", 1958.
   */
  public double[] normalDoubles(int n) {
    Philox.Stream stream = stream("normalDoubles", n);
    double[] numbers = new double[n];
    for (int i = 0; i < n; i += 2) {
      double radius = StrictMath.sqrt(-2 * StrictMath.log(1 - stream.uniformDouble()));
      double angle = 2 * StrictMath.PI * stream.uniformDouble();
      numbers[i] = radius * StrictMath.cos(angle);
      if (i + 1 < n) {
        numbers[i + 1] = radius * StrictMath.sin(angle);
      }
    }
    return numbers;
  }

  /** Returns {@link #normalDoubles} rounded to float. */
  public float[] normalFloats(int n) {
    double[] wide = normalDoubles(n);
    float[] numbers = new float[n];
    for (int i = 0; i < n; i++) {
      numbers[i] = (float) wide[i];
    }
    return numbers;
  }

  /**
   * Returns n whole numbers, uniform in [0, bound) without bias. Source: Lemire, "Fast random
   * integer generation in an interval", 2019.
   *
   * @param bound at least 1
   */
  public int[] ints(int n, int bound) {
    if (bound < 1) {
      throw new IllegalArgumentException("ints: bound is " + bound + ", must be at least 1");
    }
    Philox.Stream stream = stream("ints", n);
    int[] numbers = new int[n];
    for (int i = 0; i < n; i++) {
      numbers[i] = stream.below(bound);
    }
    return numbers;
  }

  /** Returns the numbers 0 to n - 1 in an order of which each is equally likely. */
  public int[] permutation(int n) {
    Philox.Stream stream = stream("permutation", n);
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      int j = stream.below(i + 1);
      order[i] = order[j];
      order[j] = i;
    }
    return order;
  }

  /** Returns a new generator of this key's words, for libraries that ask for one. */
  public RandomGenerator generator() {
    Philox.Stream stream = new Philox.Stream(value);
    return () -> (stream.word() & 0xFFFFFFFFL) | (long) stream.word() << 32;
  }
}
