// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

/** Which tokens may follow: knowledge that the model is given while it writes. */
@FunctionalInterface
public interface Constraint {
  /** Everything may follow; costs nothing. */
  Constraint NONE = (prompt, written, count, p, from, classes) -> 0;

  /**
   * Sets the probabilities of the tokens that may not follow to zero. A token that may follow is
   * never written while its probability is zero: raise it to keep it possible, however unlikely the
   * model holds it. Where none is left above zero the sequence stops, unfinished.
   *
   * @param prompt the tokens of the prompt
   * @param written holds the tokens written so far
   * @param count how many these are
   * @param p holds the probabilities
   * @param from where in the array they begin
   * @param classes how many they are
   * @return the operations this took
   */
  long narrow(int[] prompt, int[] written, int count, float[] p, int from, int classes);
}
