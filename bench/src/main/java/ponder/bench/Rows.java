// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;

/** The suite's table, {@code table.txt}: what is timed, on which sizes, and what it is to reach. */
final class Rows {
  private Rows() {}

  /** Returns every row, in the table's order. */
  static List<Row> all() {
    try (InputStream in = Rows.class.getResourceAsStream("table.txt")) {
      return parse(new String(in.readAllBytes(), StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static List<Row> parse(String text) {
    List<Row> rows =
        text.lines()
            .filter(line -> !line.isBlank() && !line.startsWith("#"))
            .map(Row::parse)
            .toList();
    Set<String> names = new HashSet<>();
    for (Row row : rows) {
      if (!names.add(row.name())) throw new IllegalArgumentException("two rows " + row.name());
    }
    for (Row row : rows) {
      if (row.target() != null && row.target().of() != null && !names.contains(row.target().of())) {
        throw new IllegalArgumentException(row.name() + ": there is no row " + row.target().of());
      }
    }
    return rows;
  }

  /** Returns the row of that name. */
  static Row of(String name) {
    return all().stream()
        .filter(row -> row.name().equals(name))
        .findAny()
        .orElseThrow(() -> new IllegalArgumentException("the table has no row " + name));
  }

  /** Returns rows by their groups, in the order of the groups' first rows. */
  static Collection<List<Row>> groups(List<Row> rows) {
    Map<String, List<Row>> groups = new LinkedHashMap<>();
    rows.forEach(row -> groups.computeIfAbsent(row.group(), g -> new ArrayList<>()).add(row));
    return groups.values();
  }

  /** Returns the rows whose names have a part that matches. */
  static List<Row> matching(String regex, boolean quick) {
    Pattern pattern = Pattern.compile(regex);
    return all().stream()
        .filter(row -> pattern.matcher(row.name()).find())
        .filter(row -> !quick || row.quick())
        .toList();
  }
}
