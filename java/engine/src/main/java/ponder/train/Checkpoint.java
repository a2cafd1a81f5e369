// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import ponder.Work;

/**
 * What a run has come to, tensors aside, and its text: a JSON object with one field a line, the
 * last of which is the SHA-256 of all before it.
 *
 * @param program the version of the program
 * @param run what makes the run this one, by name
 * @param at what it has come to
 * @param position where the objective stands
 * @param log how many bytes of its log belong to it
 * @param tensors the SHA-256 of its tensors' file
 */
record Checkpoint(
    String program,
    Map<String, String> run,
    Trainer.Outcome at,
    long[] position,
    long log,
    String tensors) {
  private static final long FORMAT = 1;

  /** Returns the bytes of the text. */
  byte[] text() {
    List<String> arguments = new ArrayList<>();
    new TreeMap<>(run)
        .forEach((name, value) -> arguments.add(Json.quoted(name) + ": " + Json.quoted(value)));
    StringBuilder text = new StringBuilder("{\n");
    append(text, "format", "" + FORMAT);
    append(text, "program", Json.quoted(program));
    append(text, "run", "{" + String.join(", ", arguments) + "}");
    append(text, "steps", "" + at.steps());
    append(text, "work", text(at.work()));
    append(text, "validationWork", text(at.validationWork()));
    append(text, "validations", "" + at.validations());
    append(text, "bestStep", "" + at.bestStep());
    append(text, "bestValidation", Json.number(at.bestValidation()));
    append(text, "seconds", Json.number(at.seconds()));
    append(text, "position", Arrays.toString(position));
    append(text, "log", "" + log);
    append(text, "tensors", Json.quoted(tensors));
    byte[] body = text.toString().getBytes(StandardCharsets.UTF_8);
    byte[] seal = seal(body);
    byte[] whole = Arrays.copyOf(body, body.length + seal.length);
    System.arraycopy(seal, 0, whole, body.length, seal.length);
    return whole;
  }

  private static void append(StringBuilder text, String name, String value) {
    text.append("  ").append(Json.quoted(name)).append(": ").append(value).append(",\n");
  }

  /** The text of flops, matrix flops and bytes. */
  private static String text(Work work) {
    return Arrays.toString(new long[] {work.flops(), work.matrixFlops(), work.bytes()});
  }

  /** Returns the bytes that end a text: its last field. */
  private static byte[] seal(byte[] body) {
    return ("  \"sha256\": \"" + Sha256.of(body) + "\"\n}\n").getBytes(StandardCharsets.UTF_8);
  }

  /**
   * Reads a checkpoint.
   *
   * @throws IOException in one sentence, if the file is not exactly what was written, or its form
   *     is not this one
   */
  static Checkpoint read(Path file) throws IOException {
    byte[] whole = Files.readAllBytes(file);
    int length = Math.max(0, whole.length - seal(whole).length);
    byte[] body = Arrays.copyOf(whole, length);
    if (!Arrays.equals(Arrays.copyOfRange(whole, length, whole.length), seal(body))) {
      throw new IOException(file + ": is cut short or altered, its SHA-256 is not the one it says");
    }
    try {
      return parse(new JsonCursor(new String(body, StandardCharsets.UTF_8)));
    } catch (IOException e) {
      throw new IOException(file + ": " + e.getMessage(), e);
    }
  }

  private static Checkpoint parse(JsonCursor json) throws IOException {
    json.expect('{');
    long format = field(json, "format").integer();
    if (format != FORMAT) {
      throw new IOException("is a checkpoint of format " + format + ", must be " + FORMAT);
    }
    String program = next(json, "program").string();
    Map<String, String> run = texts(next(json, "run"));
    Trainer.Outcome at =
        new Trainer.Outcome(
            next(json, "steps").integer(),
            work(next(json, "work")),
            work(next(json, "validationWork")),
            next(json, "validations").integer(),
            next(json, "bestStep").integer(),
            orInfinity(next(json, "bestValidation").real()),
            next(json, "seconds").real());
    long[] position = numbers(next(json, "position"));
    long log = next(json, "log").integer();
    String tensors = next(json, "tensors").string();
    json.expect(',');
    json.expectEnd();
    return new Checkpoint(program, run, at, position, log, tensors);
  }

  private static JsonCursor next(JsonCursor json, String name) throws IOException {
    json.expect(',');
    return field(json, name);
  }

  private static JsonCursor field(JsonCursor json, String name) throws IOException {
    String found = json.string();
    if (!found.equals(name)) {
      throw new IOException("has the field " + found + ", must have " + name);
    }
    json.expect(':');
    return json;
  }

  private static Map<String, String> texts(JsonCursor json) throws IOException {
    Map<String, String> texts = new TreeMap<>();
    json.expect('{');
    if (!json.next('}')) {
      do {
        String name = json.string();
        json.expect(':');
        texts.put(name, json.string());
      } while (json.next(','));
      json.expect('}');
    }
    return texts;
  }

  private static long[] numbers(JsonCursor json) throws IOException {
    List<Long> numbers = new ArrayList<>();
    json.expect('[');
    if (!json.next(']')) {
      do {
        numbers.add(json.integer());
      } while (json.next(','));
      json.expect(']');
    }
    return numbers.stream().mapToLong(Long::longValue).toArray();
  }

  private static Work work(JsonCursor json) throws IOException {
    long[] counts = numbers(json);
    if (counts.length != 3) {
      throw new IOException("has a work of " + counts.length + " numbers, must have 3");
    }
    return new Work(counts[0], counts[1], counts[2]);
  }

  private static double orInfinity(double value) {
    return Double.isNaN(value) ? Double.POSITIVE_INFINITY : value;
  }

  /**
   * Checks that this program may go on with the run.
   *
   * @param file the checkpoint's, for the message
   * @throws IOException naming what differs, and both values
   */
  void requireRun(Path file, String program, Map<String, String> run) throws IOException {
    requireSame(file, "the program's version", this.program, program);
    Set<String> names = new TreeSet<>(this.run.keySet());
    names.addAll(run.keySet());
    for (String name : names) {
      requireSame(file, name, this.run.get(name), run.get(name));
    }
  }

  private static void requireSame(Path file, String name, String then, String now)
      throws IOException {
    if (then == null || !then.equals(now)) {
      throw new IOException(
          "%s: is of another run: %s was %s, is %s"
              .formatted(file, name, orNone(then), orNone(now)));
    }
  }

  private static String orNone(String value) {
    return value == null ? "not given" : value;
  }
}
