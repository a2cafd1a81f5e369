// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.List;

/** Times one side of rows, in a process of its own each time. */
interface Forks {
  /** Returns the names of the sides that this times for a row. */
  List<String> sides(Row row);

  /**
   * Times a row once.
   *
   * @param checked whether the gate is passed before
   * @throws RedGate if the row gives a wrong answer
   */
  Round time(Row row, String side, Effort effort, boolean checked);
}
