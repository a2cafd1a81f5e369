// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.BitSet;
import java.util.EnumMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.FieldSource;
import org.junit.jupiter.params.provider.ValueSource;
import ponder.Key;
import ponder.lab.cities.Split.Part;
import ponder.lab.cities.Split.Shares;

/** What each split holds out, and that its sets stay the same. */
class SplitTest {
  private static final Key KEY = Key.of(1);

  private static final PathTable TABLE = PathTable.of(Places.embedded());

  private static Split split(String name, long seed) {
    return Split.named(name, TABLE, Key.of(seed), Shares.USUAL);
  }

  private static Map<Part, Integer> sizes(Split split) {
    Map<Part, Integer> sizes = new EnumMap<>(Part.class);
    for (Part part : Part.values()) {
      PathStream stream = new PathStream(TABLE, split, part, KEY);
      int size = 0;
      while (stream.next()) {
        assertEquals(part, split.part(stream.source(), stream.target(), stream.count() - 1));
        size++;
      }
      sizes.put(part, size);
    }
    return sizes;
  }

  @Test
  void eachSplitIsExplainedInASentenceOfItsOwn() {
    List<String> meanings = Split.NAMES.stream().map(Split::meaning).toList();
    assertEquals(Split.NAMES.size(), Set.copyOf(meanings).size());
    for (String meaning : meanings) {
      assertTrue(meaning.matches("[A-Z][^.]*\\."), meaning);
    }
    assertThrows(IllegalArgumentException.class, () -> Split.meaning("tidy"));
  }

  @ParameterizedTest
  @FieldSource("ponder.lab.cities.Split#NAMES")
  void everyPairIsInOnePartAndNoneIsEmpty(String name) {
    Split split = split(name, 1);
    assertEquals(name, split.name());
    Map<Part, Integer> sizes = sizes(split);
    assertEquals(TABLE.pairs(), sizes.values().stream().mapToInt(i -> i).sum());
    assertTrue(sizes.get(Part.TRAIN) > TABLE.pairs() / 2, "" + sizes);
    assertTrue(sizes.get(Part.VALIDATION) > TABLE.pairs() / 50, "" + sizes);
    assertTrue(sizes.get(Part.TEST) > TABLE.pairs() / 30, "" + sizes);
  }

  @ParameterizedTest
  @ValueSource(strings = {"ordered", "clean"})
  void theSharesAreMet(String name) {
    Split split = Split.named(name, TABLE, Key.of(3), new Shares(0.2, 0.3));
    double pairs = TABLE.pairs();
    Map<Part, Integer> sizes = sizes(split);
    // Four standard errors; a clean pair counts twice.
    double error = 4 * Math.sqrt(2 * 0.25 / pairs);
    assertEquals(0.2, sizes.get(Part.VALIDATION) / pairs, error);
    assertEquals(0.3, sizes.get(Part.TEST) / pairs, error);
  }

  @Test
  void theOrderedSplitTreatsBothDirectionsApart() {
    Split split = split("ordered", 1);
    int held = 0;
    int both = 0;
    for (int s = 0; s < 300; s++) {
      for (int t = 0; t < 300; t++) {
        if (s != t && split.part(s, t, 1) == Part.TEST) {
          held++;
          both += split.part(t, s, 1) == Part.TEST ? 1 : 0;
        }
      }
    }
    assertEquals(0.1, (double) both / held, 0.02);
  }

  @Test
  void theCleanSplitTreatsBothDirectionsAlike() {
    Split split = split("clean", 1);
    for (int s = 0; s < 300; s++) {
      for (int t = 0; t < 300; t++) {
        assertEquals(split.part(s, t, 1), split.part(t, s, 1));
      }
    }
  }

  @Test
  void anUnseenTargetIsNeverTheEndOfATrainingPath() {
    Split split = split("unseen-target", 1);
    for (int t = 0; t < 300; t++) {
      Part part = split.part(0, t, 1);
      for (int s = 0; s < 300; s++) {
        assertEquals(part, split.part(s, t, 9));
      }
    }
  }

  @Test
  void noTrainingPathStartsOrEndsInTheUnseenRegion() {
    Split split = split("unseen-region", 1);
    for (int s = 0; s < 300; s++) {
      for (int t = 0; t < 300; t++) {
        boolean isInside = isInRegion(s) || isInRegion(t);
        assertEquals(isInside, split.part(s, t, 1) == Part.TEST);
      }
    }
  }

  private static boolean isInRegion(int node) {
    String state = TABLE.graph().cities().get(node).state();
    return Set.of("IN", "MI", "OH").contains(state);
  }

  @Test
  void everyLongerPathHasMoreStepsThanAnyThatIsLearntFrom() {
    Split.LongerPath split = (Split.LongerPath) split("longer-path", 1);
    assertEquals(Part.TEST, split.part(0, 1, split.hops() + 1));
    int longer = 0;
    int longerByOne = 0;
    for (int s = 0; s < 300; s++) {
      for (int t = 0; t < 300; t++) {
        assertNotEquals(Part.TEST, split.part(s, t, split.hops()));
        longer += TABLE.hops(s, t) > split.hops() ? 1 : 0;
        longerByOne += TABLE.hops(s, t) > split.hops() + 1 ? 1 : 0;
      }
    }
    // As few are held out as make up the test share.
    assertTrue(longer >= 0.1 * TABLE.pairs() && longerByOne < 0.1 * TABLE.pairs());
  }

  @Test
  void theLongerPathsAreNeverNoneNorAll() {
    Shares none = new Shares(0, 0);
    Shares nearlyAll = new Shares(0, 0.999999);
    assertEquals(17, ((Split.LongerPath) Split.named("longer-path", TABLE, KEY, none)).hops());
    assertEquals(1, ((Split.LongerPath) Split.named("longer-path", TABLE, KEY, nearlyAll)).hops());
    PathTable line = PathTable.of(Places.of(List.of(Places.at(0, 0), Places.at(0, 1)), 200));
    assertThrows(
        IllegalArgumentException.class, () -> Split.named("longer-path", line, KEY, Shares.USUAL));
  }

  @ParameterizedTest
  @FieldSource("ponder.lab.cities.Split#NAMES")
  void anotherSeedHoldsOutOtherPairs(String name) {
    int changed = 0;
    for (int s = 0; s < 300; s++) {
      for (int t = 0; t < 300; t++) {
        changed += split(name, 1, s, t) == split(name, 2, s, t) ? 0 : 1;
      }
    }
    assertTrue(changed > 300, changed + " pairs change their part");
  }

  private static Part split(String name, long seed, int s, int t) {
    return SPLITS.computeIfAbsent(name + seed, key -> split(name, seed)).part(s, t, 1);
  }

  private static final Map<String, Split> SPLITS = new java.util.HashMap<>();

  @ParameterizedTest
  @CsvSource({
    "ordered, TRAIN, c4e17451df9cbf4f0cc9617d05fa46098b62d5e220efdae9c2612951d4b20dbc",
    "ordered, VALIDATION, 7cfc77e80b05afb687fa97bfaca4c87d52e8369be869c533d00d128344c548d7",
    "ordered, TEST, 0d210d28881f399aa3fafbfed46782bebc4439a06cc082de43e532358bda0760",
    "clean, TRAIN, b9e2b09ed4b7dee895926ecda68f0b1c69887e56e4df19eb58028f10f8b27116",
    "clean, VALIDATION, e4e548a846a66fac522baba2b47515984d9d0f05524f847b77d74e7d19e0bec2",
    "clean, TEST, 60a7ba5666d5435f1897b04c363d55d827b512fdb14e5735aa82782c5b6619f3",
    "unseen-target, TEST, c6e18631a780eebab347d974e1ff29d637dc857b4aa1b55b2619f81e56a5f9d4",
    "unseen-region, TEST, f6e50ca712361c0f820f3cf313ad61209b983983293be686fa4c8d0f0073683a",
    "longer-path, TEST, 1a1c859bf0d6201aee1fcd3902c7a77dc3063c14035a3b454e47c9a687f8d803",
  })
  void theSetsAreTheSameForEver(String name, Part part, String fingerprint) {
    assertEquals(fingerprint, PathStream.fingerprint(TABLE, split(name, 1), part, KEY));
  }

  @Test
  void aPassGivesEachPathOnce() {
    PathStream stream = new PathStream(TABLE, split("ordered", 1), Part.TRAIN, KEY);
    BitSet seen = new BitSet();
    int[] expected = new int[TABLE.longest() + 1];
    int paths = 0;
    while (stream.next()) {
      int count = TABLE.path(stream.source(), stream.target(), expected);
      assertEquals(count, stream.count());
      assertArrays(expected, stream.nodes(), count);
      assertEquals(TABLE.kilometres(stream.source(), stream.target()), stream.kilometres());
      seen.set(stream.source() * 300 + stream.target());
      paths++;
    }
    assertEquals(paths, seen.cardinality());
  }

  @Test
  void aStreamGoesOnWhereItWas() {
    PathStream stream = new PathStream(TABLE, split("clean", 1), Part.VALIDATION, KEY);
    for (int i = 0; i < 6_001; i++) {
      stream.advance();
    }
    assertTrue(stream.pass() >= 1);
    PathStream later = new PathStream(TABLE, split("clean", 1), Part.VALIDATION, KEY);
    later.seek(stream.pass(), stream.position());
    for (int i = 0; i < 6_001; i++) {
      stream.advance();
      later.advance();
      assertEquals(stream.source(), later.source());
      assertEquals(stream.target(), later.target());
      assertEquals(stream.pass(), later.pass());
    }
    assertThrows(IllegalArgumentException.class, () -> stream.seek(0, 90_001));
    assertThrows(IllegalArgumentException.class, () -> stream.seek(-1, 0));
  }

  @Test
  void thePassesDifferInTheirOrder() {
    PathStream stream = new PathStream(TABLE, split("ordered", 1), Part.TEST, KEY);
    int[] first = new int[100];
    for (int i = 0; i < first.length; i++) {
      stream.advance();
      first[i] = stream.source() * 300 + stream.target();
    }
    stream.seek(1, 0);
    int equal = 0;
    for (int pair : first) {
      stream.advance();
      equal += pair == stream.source() * 300 + stream.target() ? 1 : 0;
    }
    assertTrue(equal < 5, equal + " of 100 are at the same place");
  }

  @Test
  void anEmptyPartCannotGoOn() {
    Split split = Split.named("ordered", TABLE, KEY, new Shares(0, 0.5));
    PathStream stream = new PathStream(TABLE, split, Part.VALIDATION, KEY);
    assertThrows(IllegalStateException.class, stream::advance);
  }

  @Test
  void whatIsNoSplitIsRefused() {
    assertEquals(
        "there is no split \"dirty\"; the splits are ordered, clean, unseen-target, unseen-region,"
            + " longer-path",
        assertThrows(IllegalArgumentException.class, () -> split("dirty", 1)).getMessage());
    assertThrows(IllegalArgumentException.class, () -> new Shares(-0.1, 0.2));
    assertThrows(IllegalArgumentException.class, () -> new Shares(0.5, 0.5));
    assertThrows(IllegalArgumentException.class, () -> new Shares(Double.NaN, 0.5));
    assertThrows(IllegalArgumentException.class, () -> Split.region(TABLE.graph(), Set.of("AK")));
    assertThrows(IllegalArgumentException.class, () -> Split.region(TABLE.graph(), 0, 0, 1, 1));
  }

  @Test
  void aBoxIncludesItsBorders() {
    CityGraph graph = Places.of(Places.lattice(3, 1), 200);
    BitSet box = Split.region(graph, 1, 0, 2, 1);
    assertEquals("{3, 4, 6, 7}", box.toString());
  }

  @Test
  void theRegionCannotBeChangedFromOutside() {
    BitSet region = new BitSet();
    region.set(3);
    Split.UnseenRegion split = new Split.UnseenRegion(KEY, Shares.USUAL, region);
    region.set(4);
    split.region().set(5);
    assertEquals(Part.TEST, split.part(3, 0, 1));
    assertNotEquals(Part.TEST, split.part(4, 0, 1));
    assertNotEquals(Part.TEST, split.part(5, 0, 1));
  }

  private static void assertArrays(int[] expected, int[] got, int count) {
    assertEquals(-1, Arrays.mismatch(expected, 0, count, got, 0, count));
  }
}
