// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;

class PackedTest {
  private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

  @Test
  void namesRepeatedFieldsAndValuesOnce() {
    ArrayNode rows = JSON.arrayNode();
    for (int i = 0; i < 12; i++) {
      rows.addObject().put("n", i).put("model", "transformer").putArray("path").add(i / 6).add(3);
    }
    assertEquals(
        "{\"@columns\":{\"n\":[0,1,2,3,4,5,6,7,8,9,10,11],"
            + "\"model\":{\"@of\":[\"transformer\"],\"@at\":[0,0,0,0,0,0,0,0,0,0,0,0]},"
            + "\"path\":{\"@of\":[[0,3],[1,3]],\"@at\":[0,0,0,0,0,0,1,1,1,1,1,1]}},\"@count\":12}",
        Packed.of(rows).toString());
  }

  @Test
  void leavesShortAndMixedListsAlone() {
    ArrayNode mixed = JSON.arrayNode();
    for (int i = 0; i < 12; i++) {
      mixed.addObject().put(i % 2 == 0 ? "a" : "b", i);
    }
    assertEquals(mixed, Packed.of(mixed));
    ArrayNode few = JSON.arrayNode();
    few.addObject().put("value", 1.5);
    assertEquals(few, Packed.of(few));
  }

  @Test
  void keepsWholeNumbersAndNineDigitsOfOthers() {
    JsonNode numbers = JSON.arrayNode().add(15_000_000_000_123L).add(2.0 / 3).add(1.5e-9).add(0.25);
    assertEquals("[15000000000123,0.666666667,1.5E-9,0.25]", Packed.of(numbers).toString());
  }

  @Test
  void whatJsonDoesNotKnowBecomesNull() {
    List<Double> unknown =
        List.of(Double.NaN, Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY, 0.0);
    JsonNode tree = new ObjectMapper().valueToTree(unknown);
    assertEquals("[null,null,null,0.0]", Packed.of(tree).toString());
  }

  @Test
  void losesNothingOfAWholeReport() throws Exception {
    ObjectNode report = SampleReport.full(200, 3, 1);
    JsonNode packed = new ObjectMapper().readTree(Packed.of(report).toString());
    JsonNode expected = new ObjectMapper().readTree(rounded(report).toString());
    assertEquals(expected, unpacked(packed));
    assertTrue(packed.toString().length() < expected.toString().length() / 2);
  }

  /** As the page's data.js does it. */
  private static JsonNode unpacked(JsonNode node) {
    if (node instanceof ArrayNode list) {
      ArrayNode values = JSON.arrayNode();
      list.forEach(value -> values.add(unpacked(value)));
      return values;
    }
    if (!(node instanceof ObjectNode object)) {
      return node;
    }
    ObjectNode result = JSON.objectNode();
    if (!object.has("@columns")) {
      object.properties().forEach(e -> result.set(e.getKey(), unpacked(e.getValue())));
      return result;
    }
    ArrayNode rows = JSON.arrayNode();
    for (int i = 0; i < object.get("@count").asInt(); i++) {
      rows.addObject();
    }
    object
        .get("@columns")
        .properties()
        .forEach(
            e -> {
              JsonNode column = e.getValue();
              boolean named = column.has("@of");
              JsonNode values = unpacked(named ? column.get("@of") : column);
              for (int i = 0; i < rows.size(); i++) {
                int at = named ? column.get("@at").get(i).asInt() : i;
                ((ObjectNode) rows.get(i)).set(e.getKey(), values.get(at));
              }
            });
    return rows;
  }

  /** The numbers as the page has them: nine digits, null for what JSON does not know. */
  private static JsonNode rounded(JsonNode node) {
    if (node instanceof ArrayNode list) {
      ArrayNode values = JSON.arrayNode();
      list.forEach(value -> values.add(rounded(value)));
      return values;
    }
    if (node instanceof ObjectNode object) {
      ObjectNode values = JSON.objectNode();
      object.properties().forEach(e -> values.set(e.getKey(), rounded(e.getValue())));
      return values;
    }
    if (!node.isFloatingPointNumber()) {
      return node;
    }
    double x = node.doubleValue();
    return Double.isFinite(x)
        ? JSON.numberNode(Double.parseDouble(String.format(Locale.ROOT, "%.8e", x)))
        : JSON.nullNode();
  }
}
