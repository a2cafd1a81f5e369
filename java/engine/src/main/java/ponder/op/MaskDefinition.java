// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.Arrays;
import ponder.DType;
import ponder.Launch;
import ponder.Op;
import ponder.Result;
import ponder.Shape;
import ponder.Tensor;
import ponder.Work;
import ponder.abi.Kernels;

/**
 * The log-probability of a choice in primitives of its logits. What is chosen, and which bounds
 * hold, are constants: they are found by the kernel and in plain Java.
 */
final class MaskDefinition {
  private static final double FARTHEST = 80;
  private static final long DRAW_BLOCK = 3L << 30;

  private final Masking masking;
  private final Tensor[] in;
  private final int rows;
  private final int length;
  private final double[] logits;
  private final boolean[] may;
  private final boolean[] chosen;
  private final int[] count;
  private final int[] wanted;
  private final boolean[] draws;
  // Log-weights and weights, as numbers and as tensors [rows, length].
  private final double[] logs;
  private final Tensor shifted;
  private final Tensor weights;

  MaskDefinition(Masking masking, Tensor... in) {
    this.masking = masking;
    this.in = in;
    length = (int) in[0].shape().dim(-1);
    rows = (int) in[0].shape().rows();
    logits = in[0].detach().toDoubles();
    int n = logits.length;
    may = new boolean[n];
    count = new int[rows];
    wanted = new int[rows];
    draws = new boolean[rows];
    logs = new double[n];
    int[] tokens = in[1].toInts();
    int[] eligible = in.length > 3 ? in[3].toInts() : null;
    var largest = new double[rows];
    for (int r = 0; r < rows; r++) {
      largest[r] = Double.NEGATIVE_INFINITY;
      for (int i = r * length; i < (r + 1) * length; i++) {
        boolean flag = eligible == null || eligible[i] != 0;
        may[i] = Double.isFinite(logits[i]) && tokens[i] >= 0 && flag;
        if (!may[i]) continue;
        count[r]++;
        largest[r] = Math.max(largest[r], logits[i]);
      }
      long c = masking.k() > 0 ? masking.k() : (long) (masking.rate() * count[r] + 0.5);
      wanted[r] = (int) Math.min(count[r], c);
      draws[r] = wanted[r] > 0 && wanted[r] < count[r];
      if (count[r] == 0) largest[r] = 0;
    }
    chosen = chosen(masking);
    for (int i = 0; i < n; i++) {
      logs[i] = may[i] ? Math.max(logits[i] - largest[i / length], -FARTHEST) : -FARTHEST;
    }
    Tensor below = in[0].reshape(rows, length).sub(column(largest));
    shifted = below.maximum(constant(i -> -FARTHEST));
    weights = shifted.exp().mul(constant(i -> may[i] ? 1 : 0));
  }

  Tensor logProbability() {
    Tensor value =
        switch (masking.scheme()) {
          case BERNOULLI -> bernoulli();
          case POISSON -> poisson();
          case GUMBEL -> gumbel();
          case SYSTEMATIC -> systematic();
          case CONDITIONAL -> conditional();
          case CANDIDATES -> candidates();
        };
    return value.reshape(in[0].shape().without(-1));
  }

  // ---- constants -------------------------------------------------------------------------------

  private interface At {
    double of(int i);
  }

  private Tensor constant(Shape shape, At at) {
    var values = new double[(int) shape.size()];
    for (int i = 0; i < values.length; i++) values[i] = at.of(i);
    return Constant.of(in[0], shape, values);
  }

  private Tensor constant(At at) {
    return constant(Shape.of(rows, length), at);
  }

  private Tensor column(double... values) {
    return constant(Shape.of(rows, 1), i -> values[i]);
  }

  /** Which positions a choice of the same numbers takes. */
  private boolean[] chosen(Masking other) {
    Tensor[] constants = in.clone();
    constants[0] = in[0].detach();
    Tensor[] rest = Arrays.copyOfRange(constants, 3, constants.length);
    int[] label = other.mask(constants[0], in[1], in[2], rest).label().toInts();
    var is = new boolean[label.length];
    for (int i = 0; i < is.length; i++) is[i] = label[i] >= 0;
    return is;
  }

  /** Sums rows of terms, of those that draw. */
  private Tensor ofDrawing(Tensor perRow) {
    return perRow.mul(constant(Shape.of(rows), r -> draws[r] ? 1 : 0));
  }

  // ---- schemes ---------------------------------------------------------------------------------

  private Tensor bernoulli() {
    return constant(
        Shape.of(rows),
        r -> {
          double sum = 0;
          for (int i = r * length; i < (r + 1) * length; i++) {
            if (may[i]) sum += Math.log(chosen[i] ? masking.rate() : 1 - masking.rate());
          }
          return sum;
        });
  }

  private Tensor poisson() {
    var total = new double[rows];
    for (int i = 0; i < logs.length; i++) total[i / length] += may[i] ? Math.exp(logs[i]) : 0;
    // pi = free scale w + bound; the term is log(sign pi + offset).
    var bound = new double[logs.length];
    for (int i = 0; i < bound.length; i++) {
      double pi = wanted[i / length] * Math.exp(logs[i]) / total[i / length];
      bound[i] = pi >= 1 ? 1 : pi <= 0x1p-31 ? 0x1p-31 : 0;
    }
    Tensor sum = weights.sum(-1).reshape(rows, 1).add(column(missing()));
    Tensor scaled = weights.div(sum).mul(column(numbers(wanted)));
    Tensor pi =
        scaled
            .mul(constant(i -> free(i) && bound[i] == 0 ? 1 : 0))
            .add(constant(i -> free(i) ? bound[i] : 1));
    Tensor term =
        pi.mul(constant(i -> !free(i) || chosen[i] ? 1 : -1))
            .add(constant(i -> !free(i) || chosen[i] ? 0 : 1));
    return ofDrawing(term.log().sum(-1));
  }

  private boolean free(int i) {
    return may[i] && draws[i / length];
  }

  /** 1 for rows in which nothing may be chosen, so that no sum of weights is 0. */
  private double[] missing() {
    var missing = new double[rows];
    for (int r = 0; r < rows; r++) missing[r] = count[r] == 0 ? 1 : 0;
    return missing;
  }

  private static double[] numbers(int... values) {
    return Arrays.stream(values).asDoubleStream().toArray();
  }

  /** The chosen one after another: a choice of k takes the first k of any larger one. */
  private Tensor gumbel() {
    int most = Math.max(1, Arrays.stream(wanted).max().orElseThrow());
    var place = new int[logs.length];
    Arrays.fill(place, most);
    for (int k = most; k > 0; k--) {
      boolean[] first = chosen(masking.choosing(k, 0));
      for (int i = 0; i < place.length; i++) if (first[i]) place[i] = k - 1;
    }
    // left[r, j] = the weight of what is left when place j is taken.
    Tensor is =
        constant(
            Shape.of(rows, most, length),
            at -> {
              int j = at / length % most;
              int i = at / length / most * length + at % length;
              return may[i] && place[i] >= j ? 1 : 0;
            });
    Tensor left = is.mul(weights.reshape(rows, 1, length)).sum(-1);
    Shape taken = Shape.of(rows, most);
    Tensor used = constant(taken, at -> draws[at / most] && at % most < wanted[at / most] ? 1 : 0);
    Tensor unused =
        constant(taken, at -> draws[at / most] && at % most < wanted[at / most] ? 0 : 1);
    Tensor lost = left.mul(used).add(unused).log().sum(-1);
    Tensor won = shifted.mul(constant(i -> free(i) && chosen[i] ? 1 : 0)).sum(-1);
    return won.sub(lost);
  }

  private Tensor systematic() {
    var inside = new double[logs.length];
    var offset = new double[rows];
    var points = new double[rows];
    var certain = new boolean[logs.length];
    for (int r = 0; r < rows; r++) {
      offset[r] = 1;
      if (draws[r]) stretch(r, certain, points, inside, offset);
    }
    Tensor free = weights.mul(constant(i -> free(i) && !certain[i] ? 1 : 0));
    Tensor none = column(points).greater(column(new double[rows])).affine(-1, 1);
    Tensor pi = free.div(free.sum(-1).reshape(rows, 1).add(none)).mul(column(points));
    Tensor drawn = pi.mul(constant(i -> inside[i])).sum(-1);
    return drawn.add(constant(Shape.of(rows), r -> offset[r])).log();
  }

  /** The stretch of u that gives a row's set: the sum of pi over `inside`, and an offset. */
  private void stretch(
      int r, boolean[] certain, double[] points, double[] inside, double[] offset) {
    int start = r * length;
    points[r] = wanted[r];
    double scale = 0;
    for (double before = -1; before != points[r]; ) {
      before = points[r];
      double sum = 0;
      for (int i = start; i < start + length; i++) {
        sum += may[i] && !certain[i] ? Math.exp(logs[i]) : 0;
      }
      scale = points[r] / sum;
      for (int i = start; i < start + length; i++) {
        if (!may[i] || certain[i] || scale * Math.exp(logs[i]) < 1 - 0x1p-29) continue;
        certain[i] = true;
        points[r]--;
      }
    }
    int end = start;
    for (int i = start; i < start + length; i++) if (may[i] && !certain[i]) end = i;
    double sum = 0;
    double low = 0;
    double high = 1;
    int point = 0;
    for (int i = start; i < start + length; i++) {
      if (!may[i] || certain[i]) continue;
      double after = i == end ? points[r] : sum + scale * Math.exp(logs[i]);
      if (chosen[i]) {
        if (sum - point > low) low = sum - point;
        if (after - point < high) high = after - point;
        point++;
      }
      sum = after;
    }
    // Once more, for the places where they are.
    double highest = 1;
    double lowest = 0;
    sum = 0;
    point = 0;
    for (int i = start; i < start + length; i++) {
      if (!may[i] || certain[i]) continue;
      double after = i == end ? points[r] : sum + scale * Math.exp(logs[i]);
      if (chosen[i]) {
        if (sum - point == low && low > 0) {
          lowest = point;
          for (int j = start; j < i; j++) inside[j]--;
          low = -1;
        }
        if (after - point == high && high < 1) {
          highest = -point;
          for (int j = start; j <= i; j++) inside[j]++;
          high = 2;
        }
        point++;
      }
      sum = after;
    }
    offset[r] = highest + lowest;
  }

  private Tensor conditional() {
    int most = Math.max(1, Arrays.stream(wanted).max().orElseThrow());
    // Odds of which as many are expected as chosen: any scale gives the same.
    var scale = new double[rows];
    for (int r = 0; r < rows; r++) {
      double low = -200;
      double high = 200;
      for (int turn = 0; turn < 60 && draws[r]; turn++) {
        double middle = (low + high) / 2;
        double expected = 0;
        for (int i = r * length; i < (r + 1) * length; i++) {
          if (may[i]) expected += 1 / (1 + Math.exp(-middle - logs[i]));
        }
        if (expected < wanted[r]) low = middle;
        else high = middle;
      }
      scale[r] = low;
    }
    Tensor free = constant(i -> free(i) ? 1 : 0);
    Tensor log = shifted.add(column(scale)).mul(free);
    Tensor yes = log.sigmoid().mul(free);
    Tensor no = log.neg().sigmoid().mul(free).add(constant(i -> free(i) ? 0 : 1));
    // succeed[r, j] = the probability that j of the first positions succeed.
    Tensor succeed = constant(Shape.of(rows, most + 1), at -> at % (most + 1) == 0 ? 1 : 0);
    for (int i = 0; i < length; i++) {
      Tensor next = succeed.pad(1, 1, most + 2).slice(1, 0, most + 1);
      succeed = succeed.mul(no.slice(1, i, 1)).add(next.mul(yes.slice(1, i, 1)));
    }
    Tensor all =
        succeed
            .mul(
                constant(
                    Shape.of(rows, most + 1),
                    at ->
                        at % (most + 1) == (draws[at / (most + 1)] ? wanted[at / (most + 1)] : 0)
                            ? 1
                            : 0))
            .sum(-1);
    Tensor is = constant(i -> free(i) && chosen[i] ? 1 : 0);
    Tensor isNot = constant(i -> free(i) && chosen[i] ? 0 : 1);
    return yes.mul(is).add(no.mul(isNot)).log().sum(-1).sub(all.log());
  }

  private Tensor candidates() {
    int m = (int) masking.candidates();
    long blocks = (length + 3) / 4;
    var drawn = new double[rows * m * length];
    var taken = new double[rows * m];
    for (int r = 0; r < rows; r++) {
      boolean found = false;
      for (int j = 0; j < m; j++) {
        int[] words =
            new Words(length, DRAW_BLOCK + j * blocks, r, masking.key().value())
                .apply(in[2])
                .toInts();
        int left = count[r];
        int more = wanted[r];
        boolean same = true;
        for (int i = 0; i < length; i++) {
          if (!may[r * length + i]) continue;
          boolean is = Integer.toUnsignedLong(words[i]) * left < (long) more << 32;
          drawn[(r * m + j) * length + i] = is ? 1 : 0;
          same &= is == chosen[r * length + i];
          more -= is ? 1 : 0;
          left--;
        }
        // Of equal sets either will do.
        taken[r * m + j] = same && !found ? 1 : 0;
        found |= same;
      }
    }
    Tensor sets = constant(Shape.of(rows, m, length), at -> drawn[at]);
    Tensor free = shifted.mul(constant(i -> free(i) ? 1 : 0));
    Tensor scores = sets.mul(free.reshape(rows, 1, length)).sum(-1);
    Tensor largest = scores.largest(-1).detach();
    Tensor e = scores.sub(largest.reshape(rows, 1)).exp();
    Tensor shares = e.div(e.sum(-1).reshape(rows, 1));
    Tensor q = shares.affine(1 - masking.floor(), masking.floor() / m);
    return ofDrawing(q.mul(constant(Shape.of(rows, m), at -> taken[at])).sum(-1).log());
  }

  /** Words of the random stream of a row at a step. */
  private record Words(int n, long first, long row, long key) implements Op.Primitive {
    @Override
    public Result forward(Launch launch, Tensor... in) {
      Tensor y = launch.output(DType.I32, Shape.of(n));
      Kernels.of(launch).philox(launch.memory(y), launch.memory(in[0]), n, first, row, key);
      return new Result(y);
    }

    @Override
    public Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in) {
      return null;
    }

    @Override
    public Work work(Tensor... in) {
      return Work.NONE;
    }
  }
}
