// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import java.util.SplittableRandom;

/** A rule for the numbers of an array. */
@FunctionalInterface
public interface Values {
  /**
   * The place of one number.
   *
   * @param call what the array is made for
   * @param random the array's own stream
   * @param i the number's place in the array
   * @param cols the size of the array's last axis
   */
  record Place(Call call, SplittableRandom random, int i, int cols) {
    double normal() {
      return random.nextGaussian();
    }

    /** One of the exponents' powers of two, times a number in [1, 2). */
    double scale(int from, int to) {
      return Math.scalb(1 + random.nextDouble(), random.nextInt(from, to));
    }

    /** Quarters in [-9/4, 9/4], with ties; the period divides no size in use. */
    double quarter() {
      return (i * 7 % 19 - 9) / 4.0;
    }

    boolean single() {
      return call.type() != Type.F64;
    }
  }

  /** Returns the number at a place. */
  double at(Place place);

  /** Finite numbers of either sign. */
  Values ANY =
      p ->
          switch (p.call().turn()) {
            case RANDOM -> p.normal();
            case STRUCTURED -> p.quarter();
            case EXTREME ->
                switch (p.i() % 7) {
                  case 3 -> 0.0;
                  case 5 -> -0.0;
                  default -> (p.random().nextBoolean() ? 1 : -1) * p.scale(-20, 8);
                };
          };

  /** Numbers above zero. */
  Values POSITIVE =
      p ->
          switch (p.call().turn()) {
            case RANDOM -> Math.exp(p.normal());
            case STRUCTURED -> (p.i() * 7 % 19 + 1) / 4.0;
            case EXTREME -> p.scale(-20, 8);
          };

  /** Every corner of the number line: for functions of one element. */
  Values CORNERS =
      p ->
          switch (p.call().turn()) {
            case RANDOM -> 4 * p.normal();
            case STRUCTURED -> (p.i() - 20) / 4.0;
            case EXTREME -> corner(p);
          };

  private static double corner(Place p) {
    boolean single = p.single();
    double least = single ? Float.MIN_VALUE : Double.MIN_VALUE;
    double normal = single ? Float.MIN_NORMAL : Double.MIN_NORMAL;
    double most = single ? Float.MAX_VALUE : Double.MAX_VALUE;
    double infinity = Double.POSITIVE_INFINITY;
    // Around the ends of exp's range, and just off them.
    double high = single ? 88.72283 : 709.782712893384;
    double low = single ? -87.33655 : -708.3964185322641;
    double gone = single ? -103.97208 : -745.1332191019411;
    double[] corners = {
      0.0,
      -0.0,
      infinity,
      -infinity,
      Double.NaN,
      least,
      -least,
      normal,
      -normal,
      most,
      -most,
      1,
      -1,
      high,
      Math.nextUp((float) high),
      low,
      gone,
      gone - 1,
      0.5,
      1 + Math.ulp(1f),
      1e-4,
      -1e-4,
      9.1,
      -9.1,
      20,
      -20,
      0.55,
      0.35,
      -0.69,
      normal * 3,
      least * 5,
      most / 3
    };
    return p.i() < corners.length
        ? corners[p.i()]
        : (p.random().nextBoolean() ? 1 : -1) * p.scale(-60, 7);
  }

  /** Finite numbers, and in their extreme turn every corner: for what is rounded once. */
  Values EITHER = p -> (p.call().turn() == Turn.EXTREME ? CORNERS : ANY).at(p);

  /** Rows far from zero, constant rows, and rows with a large mean and a small spread. */
  Values ROWS =
      p ->
          switch (p.call().turn()) {
            case RANDOM -> 3 + 2 * p.normal();
            case STRUCTURED -> p.i() / p.cols() % 2 == 0 ? p.quarter() : 0.75;
            case EXTREME -> p.i() / p.cols() % 2 == 0 ? ANY.at(p) : 512 + p.normal();
          };

  /** Logits: some and sometimes all of a row -infinity, and rows with a NaN. */
  Values LOGITS =
      p -> {
        double hidden = Double.NEGATIVE_INFINITY;
        int row = p.i() / p.cols();
        return switch (p.call().turn()) {
          case RANDOM -> 3 * p.normal();
          case STRUCTURED -> row % 3 == 1 || p.i() % 5 == 2 ? hidden : p.quarter();
          case EXTREME ->
              row % 5 == 3 && p.i() % 7 == 2
                  ? Double.NaN
                  : p.i() % 4 == 1 ? hidden : 1e4 * p.normal();
        };
      };

  /** Additive masks: what is added, and what is hidden. */
  Values MASK =
      p -> {
        double hidden = Double.NEGATIVE_INFINITY;
        int row = p.i() / p.cols();
        return switch (p.call().turn()) {
          case RANDOM -> p.normal();
          case STRUCTURED -> row % 3 == 1 || p.i() % 3 == 2 ? hidden : p.quarter();
          case EXTREME -> p.i() % 4 == 1 ? hidden : p.i() % 4 == 2 ? -1e30 : 5 * p.normal();
        };
      };

  /** Gates: open by half, open or shut with rows of nothing else, and of all sizes. */
  Values GATES =
      p -> {
        int row = p.i() / p.cols();
        return switch (p.call().turn()) {
          case RANDOM -> 0.1 + p.random().nextDouble();
          case STRUCTURED -> row % 3 == 1 || p.i() % 3 == 2 ? 0 : 1;
          case EXTREME ->
              switch (p.i() % 5) {
                case 1 -> 0.0;
                case 3 -> -p.random().nextDouble();
                default -> p.scale(-20, 8);
              };
        };
      };

  /** What activations take: both tails and the bend. */
  Values BENDS =
      p ->
          switch (p.call().turn()) {
            case RANDOM -> 2 * p.normal();
            case STRUCTURED -> (p.i() % 41 - 20) / 4.0;
            case EXTREME -> p.i() % 3 == 0 ? 30 * p.normal() : ANY.at(p) / 8;
          };

  /** Queries and keys: at their extreme one key takes almost all. */
  Values QUERIES = p -> ANY.at(p) / (p.call().turn() == Turn.EXTREME ? 16 : 1);

  /** Weights of a sum over a row of them. */
  Values WEIGHTS = p -> ANY.at(p) / (p.call().turn() == Turn.EXTREME ? 32 : 4);

  /**
   * Weights of a sum over a state that the next step sums again: at most about 1 / sqrt(width), or
   * errors would grow with every step.
   */
  Values CARRIED = p -> WEIGHTS.at(p) * Math.min(1, 4 / Math.sqrt(p.cols()));

  /** Numbers in [0, 1). */
  Values UNIT = p -> p.random().nextDouble();
}
