// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The log of a run. */
class JsonLinesTest {
  private static final String STRING =
      "\"(?:[^\"\\\\\\p{Cntrl}]|\\\\[\"\\\\/bfnrt]|\\\\u[0-9a-f]{4})*\"";
  private static final String NUMBER = "-?(?:0|[1-9]\\d*)(?:\\.\\d+)?(?:[eE][-+]?\\d+)?";
  private static final Pattern FIELD =
      Pattern.compile("(" + STRING + "):(" + STRING + "|" + NUMBER + "|null)([,}])");

  @TempDir private Path folder;

  /** Returns the fields of a line, which must be one flat JSON object. */
  private static Map<String, String> parse(String line) {
    Map<String, String> fields = new LinkedHashMap<>();
    assertTrue(line.startsWith("{"), line);
    Matcher field = FIELD.matcher(line).region(1, line.length());
    String end = ",";
    while (end.equals(",")) {
      assertTrue(field.lookingAt(), line + " at " + field.regionStart());
      fields.put(field.group(1).replace("\"", ""), field.group(2));
      end = field.group(3);
      field.region(field.end(), line.length());
    }
    assertEquals(line.length(), field.regionStart(), line);
    return fields;
  }

  private static Progress.Step step(long step, double loss, double validation) {
    return new Progress.Step(step, loss, validation, 3e-4, 1.5, 1000 * step, 5000, 0.25 * step);
  }

  @Test
  void everyStepIsACompleteLineWhenItsCallEnds() throws IOException {
    Path file = folder.resolve("run.jsonl");
    try (JsonLines log = new JsonLines(file, "gru, seed 1")) {
      for (int step = 1; step <= 5; step++) {
        log.after(step(step, 1.0 / 3 * step, step == 5 ? 2.0 / 7 : Double.NaN));
        String text = Files.readString(file);
        assertTrue(text.endsWith("}\n"));
        assertEquals(step, text.lines().count());
      }
    }
    List<String> lines = Files.readAllLines(file);
    for (int i = 0; i < 5; i++) {
      Map<String, String> fields = parse(lines.get(i));
      assertEquals("\"gru, seed 1\"", fields.get("run"));
      assertEquals("" + (i + 1), fields.get("step"));
      assertEquals("" + 1000 * (i + 1), fields.get("flops"));
      assertEquals("5000", fields.get("budget"));
      assertEquals(1.0 / 3 * (i + 1), Double.parseDouble(fields.get("loss")));
      assertEquals(1.5, Double.parseDouble(fields.get("norm")));
      assertEquals(3e-4, Double.parseDouble(fields.get("rate")));
      assertEquals(0.25 * (i + 1), Double.parseDouble(fields.get("seconds")));
      assertEquals(i == 4, fields.containsKey("validation"));
    }
    assertEquals(2.0 / 7, Double.parseDouble(parse(lines.get(4)).get("validation")));
  }

  @Test
  void linesAreJsonWhateverTheyHold() throws IOException {
    Path file = folder.resolve("run.jsonl");
    String name = "a \"b\" \\ c\n\t\u0001 é \uD83D\uDE00";
    try (JsonLines log = new JsonLines(file, name)) {
      log.after(step(1, Double.POSITIVE_INFINITY, Double.NEGATIVE_INFINITY));
      log.after(step(2, Double.MIN_VALUE, Double.NaN));
      log.after(step(3, -1.7e300, 0));
    }
    List<String> lines = Files.readAllLines(file);
    assertEquals(3, lines.size());
    assertEquals("null", parse(lines.get(0)).get("loss"));
    assertEquals("null", parse(lines.get(0)).get("validation"));
    assertEquals(Double.MIN_VALUE, Double.parseDouble(parse(lines.get(1)).get("loss")));
    assertEquals(
        "\"a \\\"b\\\" \\\\ c\\u000a\\u0009\\u0001 é \\ud83d\\ude00\"",
        parse(lines.get(2)).get("run"));
  }

  @Test
  void anOlderLogIsReplaced() throws IOException {
    Path file = Files.writeString(folder.resolve("run.jsonl"), "old\n");
    try (JsonLines log = new JsonLines(file, "new")) {
      log.after(step(1, 1, 1));
    }
    assertFalse(Files.readString(file).contains("old"));
  }

  @Test
  void aLogGoesOnWhereItWasAndLosesWhatCameLater() throws IOException {
    Path file = folder.resolve("run.jsonl");
    long length;
    try (JsonLines log = new JsonLines(file, "é \uD83D\uDE00")) {
      assertEquals(0, log.length());
      log.after(step(1, 1, 1));
      log.after(step(2, 2, 2));
      length = log.length();
      assertEquals(Files.size(file), length);
      log.after(step(3, 3, 3));
    }
    Files.writeString(file, "{\"half a li", StandardOpenOption.APPEND);
    try (JsonLines log = new JsonLines(file, "é \uD83D\uDE00", length)) {
      assertEquals(length, log.length());
      log.after(step(3, 4, 4));
      assertEquals(Files.size(file), log.length());
    }
    List<String> lines = Files.readAllLines(file);
    assertEquals(3, lines.size());
    assertEquals("2.0", parse(lines.get(1)).get("loss"));
    assertEquals("4.0", parse(lines.get(2)).get("loss"));
    String message =
        assertThrows(IOException.class, () -> new JsonLines(file, "x", 1 << 20)).getMessage();
    assertTrue(message.endsWith("bytes, must have at least 1048576"), message);
    assertEquals(lines, Files.readAllLines(file));
    Path none = folder.resolve("none.jsonl");
    assertThrows(IOException.class, () -> new JsonLines(none, "x", 1));
    assertFalse(Files.exists(none));
  }
}
