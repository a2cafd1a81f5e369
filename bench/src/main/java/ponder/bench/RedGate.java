// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

/** What was to be timed gives a wrong answer: no number may be printed of it. */
final class RedGate extends RuntimeException {
  private static final long serialVersionUID = 1;

  RedGate(String sentence) {
    super(sentence);
  }
}
