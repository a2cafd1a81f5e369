// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** A table in plain text: columns as wide as their widest cell, numbers to the right. */
public final class Table {
  private final List<String[]> rows = new ArrayList<>();

  /**
   * Begins a table.
   *
   * @param header the columns' names
   */
  public Table(String... header) {
    rows.add(header.clone());
  }

  /**
   * Adds a row.
   *
   * @param cells as many as there are columns
   * @return this table
   */
  public Table row(Object... cells) {
    if (cells.length != rows.get(0).length) {
      throw new IllegalArgumentException(
          "table: a row has " + cells.length + " cells, the header " + rows.get(0).length);
    }
    rows.add(Arrays.stream(cells).map(String::valueOf).toArray(String[]::new));
    return this;
  }

  /** Returns the number of rows below the header. */
  public int size() {
    return rows.size() - 1;
  }

  /** Returns the table as lines, each closed by a line feed. */
  @Override
  public String toString() {
    int columns = rows.get(0).length;
    int[] width = new int[columns];
    boolean[] right = new boolean[columns];
    for (int c = 0; c < columns; c++) {
      right[c] = rows.size() > 1;
      for (int r = 0; r < rows.size(); r++) {
        String cell = rows.get(r)[c];
        width[c] = Math.max(width[c], cell.length());
        right[c] &= r == 0 || cell.isEmpty() || startsLikeANumber(cell);
      }
    }
    StringBuilder text = new StringBuilder();
    for (String[] row : rows) {
      StringBuilder line = new StringBuilder();
      for (int c = 0; c < columns; c++) {
        String space = " ".repeat(width[c] - row[c].length());
        line.append(c == 0 ? "" : "  ").append(right[c] ? space + row[c] : row[c] + space);
      }
      text.append(line.toString().stripTrailing()).append('\n');
    }
    return text.toString();
  }

  private static boolean startsLikeANumber(String cell) {
    char first = cell.charAt(0);
    return Character.isDigit(first) || first == '-' || first == '.' || first == '<';
  }
}
