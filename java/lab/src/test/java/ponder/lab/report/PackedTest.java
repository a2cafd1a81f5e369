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
import org.junit.jupiter.api.Test;
import ponder.lab.statistics.Estimate;

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
    JsonNode few = new ObjectMapper().valueToTree(List.of(new Estimate(1, 0, 2)));
    assertEquals(few, Packed.of(few));
  }

  @Test
  void whatJsonDoesNotKnowBecomesNull() {
    JsonNode estimate =
        new ObjectMapper()
            .valueToTree(
                new Estimate(Double.NaN, Double.NEGATIVE_INFINITY, Double.POSITIVE_INFINITY));
    assertEquals("{\"value\":null,\"low\":null,\"high\":null}", Packed.of(estimate).toString());
  }

  @Test
  void losesNothingOfAWholeReport() throws Exception {
    ObjectNode report = SampleReport.full(200, 3);
    JsonNode packed = new ObjectMapper().readTree(Packed.of(report).toString());
    JsonNode expected = withoutUnknown(report.deepCopy());
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

  private static JsonNode withoutUnknown(JsonNode node) throws Exception {
    return new ObjectMapper()
        .readTree(node.toString().replace("\"NaN\"", "null").replace("NaN", "null"));
  }
}
