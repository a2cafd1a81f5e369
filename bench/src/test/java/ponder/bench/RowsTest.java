// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import ponder.cases.Case;
import ponder.cases.Cases;

/** The table of the suite. */
class RowsTest {
  @Test
  void everyRowFitsItsCase() {
    int fitting = 0;
    Map<String, Case> cases =
        Cases.all().stream().collect(Collectors.toMap(Case::name, Function.identity()));
    for (Row row : Rows.all()) {
      if (!row.words()[0].equals("op")) continue;
      Case of = cases.get(row.words()[1]);
      assertTrue(of.op() != null && of.types().contains(row.type()), row.name());
      assertTrue(row.words()[2].matches("forward|backward|both"), row.name());
      var sizes = new LinkedHashMap<>(row.sizes());
      sizes.remove("learned");
      for (String size : sizes.keySet()) of.requireColumn(size);
      fitting++;
    }
    assertTrue(fitting > 50, fitting + " rows");
  }

  @Test
  void everyGroupIsTimedByItselfAndTheirRowsAreAll() {
    List<Row> joined = new ArrayList<>();
    for (List<Row> group : Rows.groups(Rows.all())) {
      assertEquals(1, group.stream().map(Row::group).distinct().count());
      assertTrue(joined.stream().noneMatch(row -> row.group().equals(group.getFirst().group())));
      for (Row row : group) {
        // A comparison stands beside what it is compared with.
        String other = row.target() == null ? null : row.target().of();
        if (other != null) assertEquals(row.group(), Rows.of(other).group());
      }
      joined.addAll(group);
    }
    assertEquals(Set.copyOf(Rows.all()), Set.copyOf(joined));
    assertEquals(Rows.all().size(), joined.size());
  }

  @Test
  void everyShareIsOfAPeakAndEveryQuickComparisonIsQuickOnBothSides() {
    for (Row row : Rows.all()) {
      if (row.target() == null) continue;
      if (row.target().unit().equals("peak")) assertTrue(row.peak() != null, row.name());
      if (row.quick() && row.target().of() != null) {
        assertTrue(Rows.of(row.target().of()).quick(), row.name());
      }
    }
  }

  @Test
  void readsARow() {
    Row row =
        Row.parse("qr | a.b | op softmax forward | bf16 | rows=3 threads=2 | exp | <= 1.5 of a.c");
    assertEquals("a.b", row.name());
    assertEquals(ponder.cases.Type.BF16, row.type());
    assertEquals(2, row.threads());
    assertEquals(List.of("rows"), List.copyOf(row.sizes().keySet()));
    assertEquals(Peak.EXP, row.peak());
    assertEquals("<= 1.5 x the time of a.c", row.target().toString());
    assertTrue(row.quick() && row.shown());
  }

  @Test
  void refusesWhatIsNoRow() {
    assertThrows(IllegalArgumentException.class, () -> Rows.parse("q | a | step | f32 | | "));
    String twice = " | a | step | f32 | | | \n | a | step | f32 | | | ";
    assertThrows(IllegalArgumentException.class, () -> Rows.parse(twice));
    String toNobody = " | a | step | f32 | | | >= 2 of b";
    assertThrows(IllegalArgumentException.class, () -> Rows.parse(toNobody));
    assertThrows(IllegalArgumentException.class, () -> Target.parse("> 3 ms"));
  }

  @Test
  void judgesFromBothSides() {
    assertTrue(Target.parse(">= 0.87 peak").isMetBy(0.87));
    assertFalse(Target.parse(">= 0.87 peak").isMetBy(0.86));
    assertTrue(Target.parse("<= 0.4 ms").isMetBy(0.4));
    assertFalse(Target.parse("<= 0.4 ms").isMetBy(0.41));
    assertFalse(Target.parse("<= 0.4 ms").isMetBy(Double.NaN));
  }
}
