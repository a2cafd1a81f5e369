// SPDX-License-Identifier: Apache-2.0
package ponder.lab.doctor;

/**
 * One thing the doctor looked at.
 *
 * @param subject what it is about
 * @param state what was found
 * @param fix what to do about it; empty if nothing is wrong
 * @param fatal whether nothing can run before it is mended
 */
public record Finding(String subject, String state, String fix, boolean fatal) {
  /** Returns a finding with nothing wrong. */
  public static Finding well(String subject, String state) {
    return new Finding(subject, state, "", false);
  }

  /** Returns a finding that is worth mending but lets everything run. */
  public static Finding warning(String subject, String state, String fix) {
    return new Finding(subject, state, fix, false);
  }

  /** Returns a finding that must be mended first. */
  public static Finding fatal(String subject, String state, String fix) {
    return new Finding(subject, state, fix, true);
  }
}
