// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;
import java.util.Arrays;
import java.util.stream.IntStream;

/** Masks in plain loops, row by row, as the header words them. */
abstract class PlainMasks extends PlainFeedback {
  private static final int BERNOULLI = 0;
  private static final int POISSON = 1;
  private static final int GUMBEL = 2;
  private static final int SYSTEMATIC = 3;
  private static final int CONDITIONAL = 4;
  private static final int CANDIDATES = 5;

  private static final long ACTION_BLOCK = 1L << 30;
  private static final long TOKEN_BLOCK = 2L << 30;
  private static final long DRAW_BLOCK = 3L << 30;

  PlainMasks(boolean narrow) {
    super(narrow);
  }

  /** What a call's rows have in common. */
  private record Rule(
      int scheme, long step, long k, long candidates, long key, double rate, double floor) {
    long chosenOf(int n) {
      return Math.min(n, k > 0 ? k : (long) (rate * n + 0.5));
    }

    /** The upper 31 bits of a position's word. */
    int bits(long block, long row, int i) {
      return word(block, row, i) >>> 1;
    }

    int word(long block, long row, int i) {
      return philox(block + i / 4, row, step, key)[i % 4];
    }

    double uniform(long row) {
      return (bits(0, row, 0) + 0.5) * 0x1p-31;
    }
  }

  /** One row: its weights, and what its scheme makes of them. */
  private final class Row {
    final Rule rule;
    final long number;
    final int length;
    final boolean[] may;
    final double[] shifted;
    final double[] w;
    final boolean[] clamped;
    final double[] chance;
    final boolean[] chosen;
    final int n;
    final int c;
    double weight;
    double logProbability;
    int[] order;
    double[] left;

    Row(Rule rule, long number, double[] logits, boolean[] may) {
      this.rule = rule;
      this.number = number;
      this.may = may;
      length = logits.length;
      shifted = new double[length];
      w = new double[length];
      clamped = new boolean[length];
      chance = new double[length];
      chosen = new boolean[length];
      double largest = Double.NEGATIVE_INFINITY;
      int count = 0;
      for (int i = 0; i < length; i++) {
        if (!may[i]) continue;
        count++;
        largest = Math.max(largest, logits[i]);
      }
      n = count;
      c = (int) rule.chosenOf(n);
      for (int i = 0; i < length; i++) {
        if (!may[i]) continue;
        double below = own(logits[i] - largest);
        clamped[i] = below < -80;
        shifted[i] = Math.max(below, -80);
        w[i] = own(Math.exp(shifted[i]));
      }
    }

    /** Rounded, where the scheme works in the call's type. */
    double own(double x) {
      return rule.scheme >= SYSTEMATIC ? x : round(x);
    }

    boolean draws() {
      return rule.scheme != BERNOULLI && c > 0 && c < n;
    }

    void choose() {
      if (rule.scheme == BERNOULLI) {
        bernoulli();
      } else if (!draws()) {
        for (int i = 0; i < length; i++) {
          chosen[i] = may[i] && c > 0;
          chance[i] = chosen[i] ? 1 : 0;
        }
      } else {
        switch (rule.scheme) {
          case POISSON -> poisson();
          case GUMBEL -> gumbel();
          case SYSTEMATIC -> systematic(null);
          case CONDITIONAL -> conditional();
          default -> candidates();
        }
      }
    }

    void bernoulli() {
      for (int i = 0; i < length; i++) {
        chance[i] = may[i] ? rule.rate : 0;
        chosen[i] = rule.bits(0, number, i) < chance[i] * 0x1p31;
        double p = chosen[i] ? chance[i] : 1 - chance[i];
        logProbability += Math.log(p);
      }
    }

    double total() {
      var sum = new Sum();
      for (double x : w) sum.add(x);
      return sum.value();
    }

    void poisson() {
      double scale = own(c / total());
      var sum = new Sum();
      for (int i = 0; i < length; i++) {
        if (may[i]) chance[i] = Math.min(1, Math.max(0x1p-31, own(scale * w[i])));
        chosen[i] = rule.bits(0, number, i) < chance[i] * 0x1p31;
        sum.add(own(Math.log(chosen[i] ? chance[i] : own(1 - chance[i]))));
      }
      logProbability = sum.value();
    }

    /** The order of the chosen, what is left before each, and the times c and c + 1. */
    double[] race() {
      var time = new double[length];
      for (int i = 0; i < length; i++) {
        double u = (rule.bits(0, number, i) + 0.5) * 0x1p-31;
        time[i] = own(own(-Math.log1p(-u)) / w[i]);
      }
      order =
          IntStream.range(0, length)
              .boxed()
              .sorted((a, b) -> Double.compare(time[a], time[b]))
              .mapToInt(i -> i)
              .toArray();
      for (int j = 0; j < c; j++) chosen[order[j]] = true;
      left = new double[c];
      var sum = new Sum();
      for (int i = 0; i < length; i++) sum.add(chosen[i] ? 0 : w[i]);
      for (int j = c - 1; j >= 0; j--) {
        sum.add(w[order[j]]);
        left[j] = sum.value();
      }
      return new double[] {time[order[c - 1]], time[order[c]]};
    }

    void gumbel() {
      double[] times = race();
      for (int i = 0; i < length; i++) {
        double x = own(w[i] * times[chosen[i] ? 1 : 0]);
        chance[i] = may[i] ? Math.max(-own(Math.expm1(-x)), Float.MIN_NORMAL) : 0;
      }
      var sum = new Sum();
      for (int j = 0; j < c; j++) sum.add(own(Math.log(own(w[order[j]] / left[j]))));
      logProbability = sum.value();
    }

    /** With slopes, adds the derivative of the log-probability to them. */
    void systematic(double[] slope) {
      boolean[] certain = new boolean[length];
      double scale = 0;
      int points = c;
      for (int before = -1; before != c - points; ) {
        before = c - points;
        var sum = new Sum();
        for (int i = 0; i < length; i++) sum.add(certain[i] ? 0 : w[i]);
        scale = points / sum.value();
        for (int i = 0; i < length; i++) {
          if (!certain[i] && scale * w[i] >= 1 - 0x1p-29) {
            certain[i] = true;
            points--;
          }
        }
      }
      double u = rule.uniform(number);
      double sum = 0;
      double low = 0;
      double high = 1;
      int first = 0;
      int last = length;
      int point = 0;
      int end = 0;
      for (int i = 0; i < length; i++) if (may[i] && !certain[i]) end = i;
      for (int i = 0; i < length; i++) {
        double pi = certain[i] ? 0 : scale * w[i];
        chance[i] = certain[i] ? 1 : may[i] ? Math.max(pi, Float.MIN_NORMAL) : 0;
        double after = i == end ? points : sum + pi;
        chosen[i] = certain[i] || (point < points && after > point + u && may[i]);
        if (chosen[i] && !certain[i]) {
          if (sum - point > low) {
            low = sum - point;
            first = i;
          }
          if (after - point < high) {
            high = after - point;
            last = i;
          }
          point++;
        }
        sum = after;
      }
      logProbability = Math.log(high - low);
      if (slope == null || points == 0) return;
      // What lies behind the last point counts for nothing: up to 1 the stretch is open.
      var is = new int[length];
      for (int i = 0; i < length; i++) {
        is[i] = (last < length && i <= last ? 1 : 0) - (i < first ? 1 : 0);
      }
      double inside = 0;
      for (int i = 0; i < length; i++) inside += certain[i] ? 0 : is[i] * scale * w[i];
      for (int i = 0; i < length; i++) {
        double pi = certain[i] ? 0 : scale * w[i];
        slope[i] = pi * (is[i] - inside / points) / (high - low);
      }
    }

    void conditional() {
      // Odds of which c are expected.
      double low = -200;
      double high = 200;
      for (int turn = 0; turn < 100; turn++) {
        double middle = (low + high) / 2;
        double expected = 0;
        for (int i = 0; i < length; i++) {
          if (may[i]) expected += 1 / (1 + Math.exp(-middle - shifted[i]));
        }
        if (expected < c) low = middle;
        else high = middle;
      }
      var p = new double[length];
      for (int i = 0; i < length; i++) p[i] = may[i] ? 1 / (1 + Math.exp(-low - shifted[i])) : 0;
      var q = new double[length];
      for (int i = 0; i < length; i++) q[i] = may[i] ? 1 / (1 + Math.exp(low + shifted[i])) : 1;
      // Of the first i positions j succeed; of the others the rest.
      var first = new double[length + 1][c + 1];
      var others = new double[length + 1][c + 1];
      first[0][0] = others[length][0] = 1;
      for (int i = 0; i < length; i++) {
        for (int j = 0; j <= c; j++) {
          first[i + 1][j] = q[i] * first[i][j] + (j > 0 ? p[i] * first[i][j - 1] : 0);
        }
      }
      for (int i = length - 1; i >= 0; i--) {
        for (int j = 0; j <= c; j++) {
          others[i][j] = q[i] * others[i + 1][j] + (j > 0 ? p[i] * others[i + 1][j - 1] : 0);
        }
      }
      double all = first[length][c];
      logProbability = -Math.log(all);
      for (int i = length - 1, j = c; i >= 0; i--) {
        double u = (rule.bits(0, number, i) + 0.5) * 0x1p-31;
        chosen[i] = j > 0 && u * first[i + 1][j] < p[i] * first[i][j - 1];
        if (chosen[i]) j--;
        logProbability += Math.log(chosen[i] ? p[i] : q[i]);
        double sum = 0;
        for (int m = 0; m < c; m++) sum += first[i][m] * others[i + 1][c - 1 - m];
        chance[i] = may[i] ? Math.min(1, Math.max(Float.MIN_NORMAL, p[i] * sum / all)) : 0;
      }
    }

    boolean[] candidate(long set) {
      var drawn = new boolean[length];
      long start = DRAW_BLOCK + set * ((length + 3) / 4);
      for (int i = 0, wanted = c, left = n; i < length; i++) {
        if (!may[i]) continue;
        long word = Integer.toUnsignedLong(rule.word(start, number, i));
        drawn[i] = word * left < (long) wanted << 32;
        if (drawn[i]) wanted--;
        left--;
      }
      return drawn;
    }

    /** Softmax over the sets' sums of logits. */
    double[] shares() {
      var share = new double[(int) rule.candidates];
      for (int j = 0; j < share.length; j++) {
        boolean[] drawn = candidate(j);
        for (int i = 0; i < length; i++) share[j] += drawn[i] ? shifted[i] : 0;
      }
      double most = Arrays.stream(share).max().orElseThrow();
      double sum = 0;
      for (int j = 0; j < share.length; j++) sum += share[j] = Math.exp(share[j] - most);
      for (int j = 0; j < share.length; j++) share[j] /= sum;
      return share;
    }

    double q(double share) {
      return (1 - rule.floor) * share + rule.floor / rule.candidates;
    }

    int taken(double[] shares) {
      double sum = 0;
      for (int j = 0; j + 1 < shares.length; j++) {
        sum += q(shares[j]);
        if (rule.uniform(number) < sum) return j;
      }
      return shares.length - 1;
    }

    void candidates() {
      double[] shares = shares();
      int taken = taken(shares);
      boolean[] drawn = candidate(taken);
      for (int i = 0; i < length; i++) {
        chosen[i] = drawn[i];
        chance[i] = may[i] ? (double) c / n : 0;
      }
      weight = 1 / (rule.candidates * q(shares[taken]));
      logProbability = Math.log(q(shares[taken]));
    }

    /** The derivative of the log-probability, from what the forward function wrote. */
    double[] slopes(double[] chances, boolean[] is) {
      var slope = new double[length];
      if (!draws()) return slope;
      switch (rule.scheme) {
        case POISSON -> {
          double total = total();
          var g = new double[length];
          var sum = new Sum();
          for (int i = 0; i < length; i++) {
            double pi = own(own(c / total) * w[i]);
            if (pi > 0x1p-31 && pi < 1) g[i] = is[i] ? 1 : -own(pi / own(1 - pi));
            sum.add(g[i]);
          }
          for (int i = 0; i < length; i++) {
            slope[i] = own(g[i] - own(own(w[i] / total) * sum.value()));
          }
        }
        case GUMBEL -> {
          race();
          var before = new double[length];
          double sum = 0;
          for (int j = 0; j < c; j++) {
            sum = own(sum + own(1 / left[j]));
            before[order[j]] = sum;
          }
          for (int i = 0; i < length; i++) {
            slope[i] = chosen[i] ? own(1 - own(w[i] * before[i])) : own(-w[i] * sum);
          }
        }
        case SYSTEMATIC -> systematic(slope);
        case CONDITIONAL -> {
          for (int i = 0; i < length; i++) slope[i] = round((is[i] ? 1 : 0) - chances[i]);
        }
        default -> {
          double[] shares = shares();
          int taken = taken(shares);
          double factor = (1 - rule.floor) * shares[taken] / q(shares[taken]);
          boolean[] own = candidate(taken);
          for (int j = 0; j < shares.length; j++) {
            boolean[] drawn = candidate(j);
            // Not 1 - share, which cancels.
            for (int i = 0; i < length; i++) {
              slope[i] += factor * shares[j] * ((own[i] ? 1 : 0) - (drawn[i] ? 1 : 0));
            }
          }
        }
      }
      for (int i = 0; i < length; i++) if (!may[i] || clamped[i]) slope[i] = 0;
      return slope;
    }
  }

  @Override
  public void mask(
      int dtype,
      MemorySegment logProbability,
      MemorySegment inclusion,
      MemorySegment weight,
      MemorySegment corrupted,
      MemorySegment label,
      MemorySegment logits,
      MemorySegment tokens,
      MemorySegment eligible,
      MemorySegment step,
      long rows,
      long length,
      long vocabulary,
      long k,
      long candidates,
      long maskToken,
      long key,
      double rate,
      double floor,
      double maskShare,
      double randomShare,
      int scheme) {
    floats(dtype);
    sizes(rows, length);
    int n = (int) length;
    int count = (int) rows * n;
    double[] x = missing(logits) ? new double[count] : read(dtype, logits, rows, length);
    double[] ids = read(I32, tokens, rows, length);
    double[] flags = missing(eligible) ? null : read(I32, eligible, rows, length);
    var rule = new Rule(scheme, readLong(step), k, candidates, key, rate, floor);
    var logs = new double[(int) rows];
    var chances = new double[count];
    var weights = new double[count];
    var put = new double[count];
    var labels = new double[count];
    for (int r = 0; r < rows; r++) {
      int at = r * n;
      var may = new boolean[n];
      for (int i = 0; i < n; i++) {
        may[i] =
            Double.isFinite(x[at + i]) && ids[at + i] >= 0 && (flags == null || flags[at + i] != 0);
      }
      var row = new Row(rule, r, Arrays.copyOfRange(x, at, at + n), may);
      row.choose();
      logs[r] = row.logProbability;
      for (int i = 0; i < n; i++) {
        boolean is = row.chosen[i];
        double token = ids[at + i];
        chances[at + i] = row.chance[i];
        weights[at + i] = !is ? 0 : row.weight > 0 ? row.weight : 1 / row.chance[i];
        labels[at + i] = is ? token : -1;
        put[at + i] = token;
        if (!is) continue;
        int action = rule.bits(ACTION_BLOCK, r, i);
        if (action < maskShare * 0x1p31) {
          put[at + i] = maskToken;
        } else if (action < (maskShare + randomShare) * 0x1p31) {
          long word = Integer.toUnsignedLong(rule.word(TOKEN_BLOCK, r, i));
          put[at + i] = word * vocabulary >>> 32;
        }
      }
    }
    if (!missing(logProbability)) write(dtype, logProbability, logs);
    if (!missing(inclusion)) write(dtype, inclusion, chances);
    if (!missing(weight)) write(dtype, weight, weights);
    if (!missing(corrupted)) write(I32, corrupted, put);
    if (!missing(label)) write(I32, label, labels);
  }

  @Override
  public void maskBackward(
      int dtype,
      MemorySegment dlogits,
      MemorySegment dlogProbability,
      MemorySegment logits,
      MemorySegment inclusion,
      MemorySegment label,
      MemorySegment step,
      long rows,
      long length,
      long k,
      long candidates,
      long key,
      double rate,
      double floor,
      int scheme) {
    floats(dtype);
    sizes(rows, length);
    int n = (int) length;
    double[] d = read(dtype, dlogProbability, rows);
    double[] x = read(dtype, logits, rows, length);
    double[] chances = read(dtype, inclusion, rows, length);
    double[] labels = read(I32, label, rows, length);
    var rule = new Rule(scheme, readLong(step), k, candidates, key, rate, floor);
    var result = new double[x.length];
    for (int r = 0; r < rows; r++) {
      int at = r * n;
      var may = new boolean[n];
      var is = new boolean[n];
      for (int i = 0; i < n; i++) {
        may[i] = Double.isFinite(x[at + i]) && chances[at + i] > 0;
        is[i] = labels[at + i] >= 0;
      }
      var row = new Row(rule, r, Arrays.copyOfRange(x, at, at + n), may);
      double[] slopes = row.slopes(Arrays.copyOfRange(chances, at, at + n), is);
      for (int i = 0; i < n; i++) result[at + i] = round(d[r] * slopes[i]);
    }
    write(dtype, dlogits, result);
  }
}
