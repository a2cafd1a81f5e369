// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.LinkedHashMap;
import java.util.Map;
import ponder.cases.Type;

/**
 * A row of the suite's table: one thing that is timed.
 *
 * @param name its group and what tells it apart, joined by dots
 * @param subject words that say what is timed, such as {@code op attention forward}
 * @param type the type of its numbers
 * @param sizes its sizes by name, without the threads
 * @param threads threads that compute, the caller included
 * @param peak what its speed is divided by, or null
 * @param target what it is to reach, or null
 * @param quick whether a quick run times it
 * @param shown whether the README shows it
 */
record Row(
    String name,
    String subject,
    Type type,
    Map<String, String> sizes,
    int threads,
    Peak peak,
    Target target,
    boolean quick,
    boolean shown) {

  /** Returns the row of one line of the table. */
  static Row parse(String line) {
    String[] cell = line.split("\\|", -1);
    if (cell.length != 7) {
      throw new IllegalArgumentException("a row has " + cell.length + " cells, not 7: " + line);
    }
    for (int i = 0; i < cell.length; i++) cell[i] = cell[i].strip();
    Map<String, String> sizes = new LinkedHashMap<>();
    for (String size : cell[4].isEmpty() ? new String[0] : cell[4].split(" +")) {
      String[] pair = size.split("=");
      if (pair.length != 2 || sizes.put(pair[0], pair[1]) != null) {
        throw new IllegalArgumentException(cell[1] + ": not a new size: " + size);
      }
    }
    String threads = sizes.remove("threads");
    return new Row(
        cell[1],
        cell[2],
        cell[3].isEmpty() ? Type.F32 : Type.valueOf(cell[3].toUpperCase(java.util.Locale.ROOT)),
        sizes,
        threads == null ? 1 : Integer.parseInt(threads),
        cell[5].isEmpty() ? null : Peak.of(cell[5]),
        cell[6].isEmpty() ? null : Target.parse(cell[6]),
        cell[0].contains("q"),
        cell[0].contains("r"));
  }

  /** Returns the first word of its name. */
  String group() {
    return name.substring(0, name.indexOf('.'));
  }

  /** Returns a size. */
  int size(String key) {
    String value = sizes.get(key);
    if (value == null) throw new IllegalArgumentException(name + " has no " + key);
    return Integer.parseInt(value);
  }

  /** Returns the words of the subject. */
  String[] words() {
    return subject.split(" +");
  }

  /** Returns what it makes in a second where its speed is told in that; else null. */
  String made() {
    return switch (words()[0]) {
      case "step" -> "tokens";
      case "budget" -> BudgetWay.isOf(this) ? "queries" : "tokens";
      default -> null;
    };
  }

  /** Returns whether its time is the processor's: with one thread nothing else computes. */
  boolean onOneThread() {
    return threads == 1;
  }
}
