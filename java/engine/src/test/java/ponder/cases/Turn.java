// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

/** The three kinds of data that every function meets in turn. */
public enum Turn {
  /** Numbers as they come in use. */
  RANDOM,
  /** Ties, zeros and whole quarters, on which sums are exact in any order. */
  STRUCTURED,
  /** Far apart magnitudes, signed zeros, and infinities where they mean something. */
  EXTREME
}
