// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.SplittableRandom;

/**
 * How every scheme estimates the gradient of a sentence's loss: the mean over all sets of k masked
 * words. What has few outcomes is enumerated, so that its moments are exact.
 */
final class SentenceStudy {
  /** What an estimate of one sentence came to. */
  record Outcome(
      String method, double squaredBias, double biasError, double variance, double ess) {}

  private static final int[] CANDIDATES = {4, 16, 64};
  private static final double NOISE = 0.5;
  private static final double FLOOR = 0.1;

  private final TokenGradients gradients;
  private final int k;
  private final int[] sets;
  private final double[][] means;
  private final double[] target;
  private final double[] norms;
  private final double[] logNorms;

  SentenceStudy(TokenGradients gradients, int k) {
    this.gradients = gradients;
    this.k = k;
    sets = Subsets.ofSize(gradients.length(), k);
    means = Arrays.stream(sets).mapToObj(gradients::mean).toArray(double[][]::new);
    target = new double[gradients.size()];
    for (double[] mean : means) {
      for (int i = 0; i < target.length; i++) target[i] += mean[i] / sets.length;
    }
    norms = Arrays.stream(means).mapToDouble(TokenGradients::square).map(Math::sqrt).toArray();
    logNorms = gradients.norms(sets);
    Arrays.setAll(logNorms, i -> Math.log(logNorms[i]));
  }

  /** Returns the logarithm of each position's mean gradient norm: a proposal that knows. */
  double[] logNorms() {
    return logNorms.clone();
  }

  /** Returns the squared norm of what is estimated. */
  double size() {
    return TokenGradients.square(target);
  }

  /** Returns the ceiling 1 + CV^2 of the norms of the sets' gradients: uniform over best. */
  double ceiling() {
    double sum = Arrays.stream(norms).sum();
    return Arrays.stream(norms).map(x -> x * x).sum() * sets.length / (sum * sum);
  }

  /** Returns the outcome of every scheme that is enumerated, by its name. */
  Map<String, Outcome> enumerated() {
    Map<String, Outcome> all = new LinkedHashMap<>();
    all.put("uniform", exact(uniform()));
    all.put("partition", partition());
    double rate = (double) k / gradients.length();
    all.put("bernoulli", exact(independent(fill(rate))));
    all.put("poisson", exact(independent(poisson())));
    all.put("conditional Poisson, words", exact(words()));
    all.put("conditional Poisson, sets", exact(weighedSets(1)));
    all.put("conditional Poisson, sets, half", exact(weighedSets(0.5)));
    all.put("best over sets", exact(best()));
    return all;
  }

  private Outcome exact(Moments m) {
    return new Outcome("enumerated", m.bias(target), 0, m.variance(), m.effective());
  }

  private double[] fill(double value) {
    var all = new double[gradients.length()];
    Arrays.fill(all, value);
    return all;
  }

  private Moments uniform() {
    var moments = new Moments(gradients.size());
    for (double[] mean : means) moments.add(1.0 / sets.length, 1, mean);
    return moments;
  }

  /** As many disjoint sets as there is room for, averaged: counted as one set of their variance. */
  private Outcome partition() {
    var moments = new Moments(gradients.size());
    int times = gradients.length() / k;
    addDisjoint(moments, 0, 0, times, new double[gradients.size()]);
    return new Outcome("enumerated", moments.bias(target), 0, times * moments.variance(), 1);
  }

  /** Adds the average of every choice of disjoint sets, their numbers rising. */
  private void addDisjoint(Moments moments, int from, int taken, int left, double[] sum) {
    if (left == 0) {
      moments.add(1, 1, sum);
      return;
    }
    int times = gradients.length() / k;
    for (int s = from; s < sets.length; s++) {
      if ((sets[s] & taken) != 0) continue;
      var next = sum.clone();
      for (int i = 0; i < next.length; i++) next[i] += means[s][i] / times;
      addDisjoint(moments, s + 1, taken | sets[s], left - 1, next);
    }
  }

  /** Words chosen each by itself, each weighed by 1 / its probability. */
  private Moments independent(double... inclusion) {
    var moments = new Moments(gradients.size());
    int n = gradients.length();
    for (int set = 0; set < 1 << n; set++) {
      double probability = 1;
      for (int i = 0; i < n; i++) {
        probability *= Subsets.holds(set, i) ? inclusion[i] : 1 - inclusion[i];
      }
      moments.add(probability, 1, gradients.sum(set, horvitzThompson(inclusion)));
    }
    return moments;
  }

  /** min(1, k w / sum w). */
  private double[] poisson() {
    double sum = Arrays.stream(logNorms).map(Math::exp).sum();
    return Arrays.stream(logNorms).map(l -> Math.min(1, k * Math.exp(l) / sum)).toArray();
  }

  private double[] horvitzThompson(double... inclusion) {
    return Arrays.stream(inclusion).map(p -> 1 / (p * gradients.length())).toArray();
  }

  private double[] weights(double power) {
    return Arrays.stream(logNorms).map(l -> Math.exp(power * l)).toArray();
  }

  /** Sets in proportion to the product of their weights, each word weighed by 1 / its inclusion. */
  private Moments words() {
    double[] w = weights(1);
    double all = Subsets.symmetric(w, k);
    var inclusion = new double[w.length];
    for (int set : sets) {
      for (int i : Subsets.positions(set)) inclusion[i] += Subsets.product(w, set) / all;
    }
    var moments = new Moments(gradients.size());
    for (int set : sets) {
      double probability = Subsets.product(w, set) / all;
      moments.add(probability, 1, gradients.sum(set, horvitzThompson(inclusion)));
    }
    return moments;
  }

  /** The same sets, each weighed as a whole by its uniform probability over the one it had. */
  private Moments weighedSets(double power) {
    double[] w = weights(power);
    double all = Subsets.symmetric(w, k);
    var moments = new Moments(gradients.size());
    for (int s = 0; s < sets.length; s++) {
      double probability = Subsets.product(w, sets[s]) / all;
      double importance = 1 / (sets.length * probability);
      moments.add(probability, importance, scaled(means[s], importance));
    }
    return moments;
  }

  /** Sets in proportion to the norm of their gradient: the least variance there is. */
  private Moments best() {
    double all = Arrays.stream(norms).sum();
    var moments = new Moments(gradients.size());
    for (int s = 0; s < sets.length; s++) {
      double probability = norms[s] / all;
      double importance = 1 / (sets.length * probability);
      moments.add(probability, importance, scaled(means[s], importance));
    }
    return moments;
  }

  private static double[] scaled(double[] x, double factor) {
    return Arrays.stream(x).map(value -> factor * value).toArray();
  }

  /**
   * Returns the outcome of picking one of several uniform sets by a score of the whole set, with and
   * without noise in the score. Given the sets the mean over picks is taken exactly; the sets are
   * drawn.
   */
  Map<String, Outcome> candidates(int draws, long seed) {
    var random = new SplittableRandom(seed);
    var noisy = new double[sets.length];
    Arrays.setAll(noisy, s -> norms[s] * Math.exp(NOISE * random.nextGaussian()));
    Map<String, Outcome> all = new LinkedHashMap<>();
    for (int m : CANDIDATES) {
      all.put(m + " candidates, norm known", picked(m, norms, draws, random));
      all.put(m + " candidates, norm guessed", picked(m, noisy, draws, random));
    }
    return all;
  }

  private Outcome picked(int m, double[] score, int draws, SplittableRandom random) {
    var times = new double[sets.length];
    double square = 0;
    double squaredWeight = 0;
    for (int draw = 0; draw < draws; draw++) {
      int[] drawn = random.ints(m, 0, sets.length).toArray();
      double sum = Arrays.stream(drawn).mapToDouble(s -> score[s]).sum();
      for (int s : drawn) {
        double q = (1 - FLOOR) * score[s] / sum + FLOOR / m;
        times[s] += 1.0 / m / draws;
        square += norms[s] * norms[s] / (m * m * q) / draws;
        squaredWeight += 1 / (m * m * q) / draws;
      }
    }
    var mean = new Moments(gradients.size());
    for (int s = 0; s < sets.length; s++) mean.add(times[s], 1, means[s]);
    double variance = square - TokenGradients.square(mean.mean());
    // Given the sets the mean is their average: its variance is that of uniform sets over m.
    double error = Math.sqrt(uniform().variance() / m / draws);
    return new Outcome(draws + " draws", mean.bias(target), error, variance, 1 / squaredWeight);
  }

  /**
   * Returns the outcome of estimates from sets and weights that the engine drew: the mean loss of a
   * set times its weight, or the words' losses times theirs.
   *
   * @param chosen the sets
   * @param weight of each word of each set, [draws][length]
   * @param whole whether all words of a set have the set's weight, for the mean over uniform sets
   */
  Outcome drawn(int[] chosen, double[][] weight, boolean whole) {
    var moments = new Moments(gradients.size());
    for (int d = 0; d < chosen.length; d++) {
      double share = whole ? Math.max(1, Integer.bitCount(chosen[d])) : gradients.length();
      double[] each = Arrays.stream(weight[d]).map(w -> w / share).toArray();
      double importance = whole ? Arrays.stream(weight[d]).max().orElse(0) : 1;
      moments.add(1.0 / chosen.length, importance, gradients.sum(chosen[d], each));
    }
    double error = Math.sqrt(moments.variance() / chosen.length);
    return new Outcome(
        chosen.length + " draws",
        moments.bias(target),
        error,
        moments.variance(),
        whole ? moments.effective() : 1);
  }
}
