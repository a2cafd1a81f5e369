// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.List;
import java.util.regex.Pattern;

/** One row of a table, which names file, line, column and value when a value breaks its rule. */
final class Row {
  private static final Pattern NUMBER =
      Pattern.compile("[-+]?(\\d+\\.?\\d*|\\.\\d+)([eE][-+]?\\d{1,3})?");

  private final String file;
  private final List<String> columns;
  private long line;
  private List<String> fields;

  Row(String file, List<String> columns) {
    this.file = file;
    this.columns = columns;
  }

  /** Makes this the row at a line of the file; rows with more or fewer fields are refused. */
  void set(long line, List<String> fields) throws CityFileException {
    this.line = line;
    this.fields = fields;
    if (fields.size() < columns.size()) {
      String column = columns.get(fields.size());
      throw new CityFileException(
          file, line, column, "", "is missing: the row has " + fields.size() + " fields");
    }
    if (fields.size() > columns.size()) {
      String rule = "is more than the " + columns.size() + " fields of a row";
      throw new CityFileException(
          file, line, "" + (columns.size() + 1), fields.get(columns.size()), rule);
    }
  }

  /** Returns the place of a column that every such file has. */
  int column(String column) throws CityFileException {
    int place = find(column);
    if (place < 0) {
      throw new CityFileException(file, "has no column " + column);
    }
    return place;
  }

  /** Returns the place of a column, or -1. */
  int find(String column) {
    return columns.indexOf(column);
  }

  String text(int column) {
    return fields.get(column).strip();
  }

  /** Returns the text of a column that may be absent, which reads as empty. */
  String optional(int column) {
    return column < 0 ? "" : text(column);
  }

  String required(int column) throws CityFileException {
    String text = text(column);
    if (text.isEmpty()) {
      throw fault(column, "is empty");
    }
    return text;
  }

  /** Returns degrees in [-limit, limit]. */
  double degrees(int column, int limit) throws CityFileException {
    // The pattern keeps out what only Java takes for a number, such as 12f and 0x1p3.
    String text = text(column);
    double value = NUMBER.matcher(text).matches() ? Double.parseDouble(text) : Double.NaN;
    if (!(Math.abs(value) <= limit)) {
      throw fault(column, "is not a number from -" + limit + " to " + limit);
    }
    return value;
  }

  /** Returns a whole number, 0 or more. */
  long count(int column) throws CityFileException {
    long value;
    try {
      value = Long.parseLong(text(column));
    } catch (NumberFormatException e) {
      value = -1;
    }
    if (value < 0) {
      throw fault(column, "is not a whole number of inhabitants");
    }
    return value;
  }

  private CityFileException fault(int column, String rule) {
    return new CityFileException(file, line, columns.get(column), text(column), rule);
  }
}
