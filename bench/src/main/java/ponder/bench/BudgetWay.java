// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

/**
 * A way to spend test-time compute on a query.
 *
 * @param method as the exam names it
 * @param spend how much: draws or rounds; 1 for the single pass
 */
record BudgetWay(String method, int spend) {
  /** The method of a single pass. */
  static final String ONCE = "greedy";

  /** Returns the way of a row: its third word and its size of that name. */
  static BudgetWay of(Row row) {
    String word = row.words()[2];
    return switch (word) {
      case "once" -> new BudgetWay(ONCE, 1);
      case "draws" -> new BudgetWay("shortest legal", row.size(word));
      case "rounds" -> new BudgetWay("rounds", row.size(word));
      default -> throw new IllegalArgumentException(row.name() + ": no way to answer " + word);
    };
  }

  /** Returns whether a row is about answers of a trained model. */
  static boolean isOf(Row row) {
    return row.words()[0].equals("budget") && !row.words()[2].equals("train");
  }

  /** Returns the way in words. */
  static String text(String method, int spend) {
    return switch (method) {
      case ONCE -> "once";
      case "rounds" -> spend + (spend == 1 ? " round" : " rounds");
      default -> method + " of " + spend;
    };
  }
}
