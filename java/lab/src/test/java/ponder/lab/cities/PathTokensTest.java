// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;

import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import ponder.Key;
import ponder.lab.cities.Split.Part;
import ponder.lab.cities.Split.Shares;

class PathTokensTest {
  private static final Key KEY = Key.of(1);

  @Test
  void aRowIsSourceTargetPathAndEnd() {
    // On a line of three: 0 - 1 - 2. Longer paths than one step: 0 to 2 and 2 to 0.
    PathTable table =
        PathTable.of(Places.of(List.of(Places.at(0, 0), Places.at(0, 1), Places.at(0, 2)), 125));
    Split split = Split.named("ordered", table, KEY, new Shares(0, 0));
    PathTokens tokens = new PathTokens(3, false);
    PathTokens.Batch batch = tokens.next(new PathStream(table, split, Part.TRAIN, KEY), 6);
    assertEquals(6, batch.rows());
    assertEquals(4, batch.steps());
    int seen = 0;
    for (int row = 0; row < 6; row++) {
      int[] input = Arrays.copyOfRange(batch.input(), 4 * row, 4 * row + 4);
      int[] target = Arrays.copyOfRange(batch.target(), 4 * row, 4 * row + 4);
      if (input[0] == 0 && input[1] == 2) {
        assertArrayEquals(new int[] {0, 2, 1, 2}, input);
        assertArrayEquals(new int[] {-1, 1, 2, 3}, target);
        assertEquals(4, batch.lengths()[row]);
        seen++;
      } else if (input[0] == 1 && input[1] == 0) {
        assertArrayEquals(new int[] {1, 0, 0, 4}, input);
        assertArrayEquals(new int[] {-1, 0, 3, -1}, target);
        assertEquals(3, batch.lengths()[row]);
        seen++;
      }
    }
    assertEquals(2, seen);
    // Four paths of one step and two of two, and an end each.
    assertEquals(4 * 2 + 2 * 3, batch.predictions());
  }

  @Test
  void batchesHoldTheStreamsPathsInItsOrder() {
    PathTable table = PathTable.of(Places.embedded());
    Split split = Split.named("clean", table, KEY, Shares.USUAL);
    PathTokens tokens = new PathTokens(300, false);
    assertEquals(300, tokens.end());
    assertEquals(301, tokens.pad());
    assertEquals(302, tokens.vocabulary());
    PathStream stream = new PathStream(table, split, Part.VALIDATION, KEY);
    PathStream same = new PathStream(table, split, Part.VALIDATION, KEY);
    for (int rows : new int[] {1, 3, 7, 17, 33, 301, 5_000}) {
      PathTokens.Batch batch = tokens.next(stream, rows);
      int longest = 0;
      int predictions = 0;
      for (int row = 0; row < rows; row++) {
        same.advance();
        int[] input = new int[batch.steps()];
        int[] target = new int[batch.steps()];
        Arrays.fill(input, tokens.pad());
        Arrays.fill(target, PathTokens.IGNORED);
        input[0] = same.source();
        input[1] = same.target();
        for (int i = 1; i < same.count(); i++) {
          input[i + 1] = same.nodes()[i];
          target[i] = same.nodes()[i];
        }
        target[same.count()] = tokens.end();
        int from = row * batch.steps();
        int to = from + batch.steps();
        assertArrayEquals(input, Arrays.copyOfRange(batch.input(), from, to));
        assertArrayEquals(target, Arrays.copyOfRange(batch.target(), from, to));
        assertEquals(same.count() + 1, batch.lengths()[row]);
        longest = Math.max(longest, same.count() + 1);
        predictions += same.count();
      }
      assertEquals(longest, batch.steps());
      assertEquals(predictions, batch.predictions());
      assertEquals(predictions, Arrays.stream(batch.target()).filter(t -> t >= 0).count());
    }
  }

  @Test
  void aReversedPathGoesBackFromTheTarget() {
    PathTokens tokens = new PathTokens(10, true);
    PathTokens.Batch batch = tokens.batch(new int[][] {{3, 5, 7, 8}, {1, 2}});
    assertArrayEquals(
        new int[] {3, 8, 7, 5, 3, 1, 2, 1, tokens.pad(), tokens.pad()}, batch.input());
    assertArrayEquals(new int[] {-1, 7, 5, 3, 10, -1, 1, 10, -1, -1}, batch.target());
    assertArrayEquals(new int[] {5, 7, 8}, tokens.places(3, 8, new int[] {7, 5, 3}));
    assertArrayEquals(new int[] {2}, tokens.places(1, 2, new int[] {1}));
    assertNull(tokens.places(3, 8, new int[] {7, 5}), "it does not go back to the source");
    assertNull(tokens.places(3, 8, new int[] {}));
  }

  @Test
  void whatABatchHoldsIsReadBackAsThePath() {
    PathTable table = PathTable.of(Places.embedded());
    Split split = Split.named("clean", table, KEY, Shares.USUAL);
    for (boolean reversed : new boolean[] {false, true}) {
      PathTokens tokens = new PathTokens(300, reversed);
      PathStream stream = new PathStream(table, split, Part.TEST, KEY);
      for (int i = 0; i < 100; i++) {
        stream.advance();
        int[] path = Arrays.copyOf(stream.nodes(), stream.count());
        int[] target = tokens.batch(new int[][] {path}).target();
        int[] generated = Arrays.copyOfRange(target, 1, target.length - 1);
        int[] places = tokens.places(stream.source(), stream.target(), generated);
        assertArrayEquals(Arrays.copyOfRange(path, 1, path.length), places);
      }
    }
  }
}
