// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.math.BigDecimal;
import java.math.MathContext;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * JSON made small: a list of objects with the same fields becomes columns, a column whose values
 * repeat becomes the distinct values and their positions. What is no whole number keeps nine digits,
 * and what JSON does not know (NaN, infinities) becomes null; nothing else is lost.
 *
 * <p>{@code [{"a":1,"b":"x"},{"a":2,"b":"x"},...]} becomes {@code {"@columns":{"a":[1,2,...],
 * "b":{"@of":["x"],"@at":[0,0,...]}},"@count":...}}. The page's {@code data.js} reads it.
 */
final class Packed {
  /** Shorter lists stay as they are. */
  private static final int FEW = 8;

  private static final MathContext DIGITS = new MathContext(9);
  private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

  private Packed() {}

  /** Returns the tree in small; the argument stays as it is. */
  static JsonNode of(JsonNode node) {
    return switch (node) {
      case ArrayNode list -> isTable(list) ? table(list) : list(list);
      case ObjectNode object -> {
        ObjectNode packed = JSON.objectNode();
        object.properties().forEach(field -> packed.set(field.getKey(), of(field.getValue())));
        yield packed;
      }
      default -> node.isFloatingPointNumber() ? number(node.doubleValue()) : node;
    };
  }

  private static JsonNode number(double x) {
    return Double.isFinite(x)
        ? JSON.numberNode(new BigDecimal(x).round(DIGITS).doubleValue())
        : JSON.nullNode();
  }

  private static ArrayNode list(Iterable<JsonNode> values) {
    ArrayNode packed = JSON.arrayNode();
    values.forEach(value -> packed.add(of(value)));
    return packed;
  }

  private static boolean isTable(ArrayNode list) {
    if (list.size() < FEW || !list.get(0).isObject()) {
      return false;
    }
    Set<String> names = names(list.get(0));
    for (JsonNode row : list) {
      if (!row.isObject() || !names(row).equals(names)) {
        return false;
      }
    }
    return true;
  }

  private static Set<String> names(JsonNode object) {
    Set<String> names = new LinkedHashSet<>();
    object.fieldNames().forEachRemaining(names::add);
    return names;
  }

  private static ObjectNode table(ArrayNode list) {
    ObjectNode columns = JSON.objectNode();
    for (String name : names(list.get(0))) {
      ArrayNode column = JSON.arrayNode();
      list.forEach(row -> column.add(row.get(name)));
      columns.set(name, column(column));
    }
    ObjectNode table = JSON.objectNode();
    table.set("@columns", columns);
    table.put("@count", list.size());
    return table;
  }

  private static JsonNode column(ArrayNode values) {
    Map<JsonNode, Integer> positions = new LinkedHashMap<>();
    List<Integer> at = new ArrayList<>();
    for (JsonNode value : values) {
      at.add(positions.computeIfAbsent(value, v -> positions.size()));
    }
    ArrayNode indices = JSON.arrayNode();
    at.forEach(indices::add);
    ObjectNode named = JSON.objectNode();
    named.set("@of", list(positions.keySet()));
    named.set("@at", indices);
    JsonNode plain = of(values);
    return named.toString().length() < plain.toString().length() ? named : plain;
  }
}
