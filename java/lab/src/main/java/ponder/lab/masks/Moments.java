// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

/**
 * The mean and the spread of an estimate of a gradient, from estimates with their probabilities.
 */
final class Moments {
  private final double[] mean;
  private double square;
  private double weight;
  private double weights;
  private double squaredWeights;

  /** Makes moments of estimates of so many numbers. */
  Moments(int size) {
    mean = new double[size];
  }

  /**
   * Adds an estimate.
   *
   * @param probability of it
   * @param importance the weight that it has for its set; 1 where sets have none
   */
  void add(double probability, double importance, double... estimate) {
    for (int i = 0; i < mean.length; i++) mean[i] += probability * estimate[i];
    square += probability * TokenGradients.square(estimate);
    weight += probability;
    weights += probability * importance;
    squaredWeights += probability * importance * importance;
  }

  /** Returns the sum of the probabilities added; 1 where they are those of all outcomes. */
  double total() {
    return weight;
  }

  /** Returns the mean estimate. */
  double[] mean() {
    var result = mean.clone();
    for (int i = 0; i < result.length; i++) result[i] /= weight;
    return result;
  }

  /** Returns the mean squared distance of an estimate from their mean. */
  double variance() {
    return Math.max(0, square / weight - TokenGradients.square(mean()));
  }

  /** Returns the squared distance of the mean from what is estimated. */
  double bias(double... target) {
    double[] mean = mean();
    double sum = 0;
    for (int i = 0; i < mean.length; i++) {
      double off = mean[i] - target[i];
      sum += off * off;
    }
    return sum;
  }

  /** Returns the share of the draws that weights leave: (mean weight)^2 over the mean square. */
  double effective() {
    return weights * weights / weight / squaredWeights;
  }
}
