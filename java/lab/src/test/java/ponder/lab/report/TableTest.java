// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

final class TableTest {
  @Test
  void alignsWordsLeftAndNumbersRight() {
    String text =
        new Table("model", "solved").row("gru", "9.5").row("transformer", "12.25").toString();
    assertEquals(
        """
        model        solved
        gru             9.5
        transformer   12.25
        """,
        text);
  }

  @Test
  void refusesARowOfTheWrongLength() {
    assertThrows(IllegalArgumentException.class, () -> new Table("a", "b").row("1"));
  }
}
