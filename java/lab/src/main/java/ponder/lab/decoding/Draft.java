// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import java.util.Arrays;

/** A sequence being written. */
final class Draft {
  final int prompt;
  final int number;
  int[] tokens = new int[8];
  int size;
  double logLikelihood;

  /**
   * Begins an empty sequence.
   *
   * @param prompt which prompt it completes
   * @param number which of its completions it is
   */
  Draft(int prompt, int number) {
    this.prompt = prompt;
    this.number = number;
  }

  /** Returns this sequence with one token more. */
  Draft and(int token, double likelihood) {
    Draft longer = at(likelihood);
    longer.add(token);
    return longer;
  }

  /** Returns a copy of this sequence with another likelihood. */
  Draft at(double likelihood) {
    Draft copy = new Draft(prompt, number);
    copy.tokens = tokens.clone();
    copy.size = size;
    copy.logLikelihood = likelihood;
    return copy;
  }

  void add(int token) {
    if (size == tokens.length) {
      tokens = Arrays.copyOf(tokens, 2 * size);
    }
    tokens[size++] = token;
  }

  Completion completion(boolean ended) {
    return new Completion(Arrays.copyOf(tokens, size), logLikelihood, ended);
  }
}
