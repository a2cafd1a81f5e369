// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import java.util.LinkedHashMap;
import java.util.Map;
import ponder.abi.PlainKernels;

/** What calls should leave in memory, from plain loops, and how far off they may be. */
public final class Answers {
  /** Double's unit in the last place as a share of float's. */
  static final double DOUBLE_TO_FLOAT = 0x1p-29;

  private static final int FEW = 1024;
  private static final int DRAWS = 24;

  /** How far the plain float loop is from the answer, by itself and as a share of the largest. */
  private record Distance(double absolute, double relative) {
    Distance or(Distance other) {
      return new Distance(Math.max(absolute, other.absolute), Math.max(relative, other.relative));
    }
  }

  private Answers() {}

  /** What a call should leave in one array. */
  public record Expected(double[] answer, Limit limit) {}

  /**
   * Returns what a call should leave in each array that it writes or updates: the answer in double,
   * and how far off it may be. The plain loop is measured on this call and, where that gives
   * few numbers, on others with the same row and turn: one number can be right by luck. In double a
   * value is to be within 1e-12 of the largest, except that an answer which is what cancellation
   * left over is known no better than that: the plain loop's distance tells, scaled to double.
   */
  public static Map<String, Expected> of(Call call) {
    Case owner = call.owner();
    var expected = new LinkedHashMap<String, Expected>();
    // What is rounded once is right in the type itself; the rest is asked of doubles.
    boolean given = owner.isExact() || !call.type().isFloat() || call.type() == Type.F64;
    Call asked = given ? call : call.widened();
    Map<String, Array> answers = Player.play(PlainKernels.wide(), asked);
    Map<String, Distance> distances = null;
    for (var entry : answers.entrySet()) {
      String output = entry.getKey();
      double[] answer = entry.getValue().values();
      Limit limit = owner.limit(call, output);
      if (limit == null && (owner.isExact() || !call.array(output).type().isFloat())) {
        limit = Limit.EXACT;
      } else if (limit == null) {
        if (distances == null) distances = distances(call);
        Type type = call.array(output).type();
        limit = limit(type, answer, owner.times(output), distances.get(output));
      }
      expected.put(output, new Expected(answer, limit));
    }
    return expected;
  }

  private static Limit limit(Type type, double[] answer, double times, Distance distance) {
    double largest = largest(answer);
    return Limit.absolute(
        type == Type.F64
            ? times * distance.absolute * DOUBLE_TO_FLOAT + 1e-12 * largest
            : times * distance.relative * largest + type.ulp(largest));
  }

  private static Map<String, Distance> distances(Call call) {
    var distances = new LinkedHashMap<String, Distance>();
    int met = 0;
    for (int draw = 0; draw < DRAWS && met < FEW; draw++) {
      Type type = call.type() == Type.F64 ? Type.F32 : call.type();
      Call one = call.owner().redraw(call, type, draw);
      Map<String, Array> answers = Player.play(PlainKernels.wide(), one.widened());
      Map<String, Array> plain = Player.play(PlainKernels.narrow(), one);
      int least = Integer.MAX_VALUE;
      for (String output : answers.keySet()) {
        double[] answer = answers.get(output).values();
        double[] got = plain.get(output).values();
        double worst = 0;
        for (int i = 0; i < answer.length; i++) {
          if (Double.isFinite(got[i])) worst = Math.max(worst, Math.abs(got[i] - answer[i]));
        }
        double largest = largest(answer);
        var distance = new Distance(worst, largest == 0 ? 0 : worst / largest);
        distances.merge(output, distance, Distance::or);
        least = Math.min(least, answer.length);
      }
      met += least;
    }
    return distances;
  }

  static double largest(double[] values) {
    double largest = 0;
    for (double value : values) {
      if (Double.isFinite(value)) largest = Math.max(largest, Math.abs(value));
    }
    return largest;
  }
}
