// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import ponder.DType;
import ponder.Shape;
import ponder.Tensor;

/** The header of a safetensors file: the name, type, shape and place of each tensor, as JSON. */
final class SafetensorsHeader {
  private static final String METADATA = "__metadata__";

  /**
   * What the header says of one tensor.
   *
   * @param from where its bytes begin, counted from the end of the header
   * @param to where they end
   */
  record Entry(String name, DType type, Shape shape, long from, long to) {
    private String json() {
      return "%s:{\"dtype\":\"%s\",\"shape\":%s,\"data_offsets\":[%d,%d]}"
          .formatted(Json.quoted(name), type, Arrays.toString(shape.dims()), from, to);
    }
  }

  private SafetensorsHeader() {}

  /** Returns the entries of named values, one after the other. */
  static List<Entry> of(Map<String, Tensor> values) {
    List<Entry> entries = new ArrayList<>();
    long at = 0;
    for (Map.Entry<String, Tensor> value : values.entrySet()) {
      if (value.getKey().equals(METADATA)) {
        throw new IllegalArgumentException("safetensors: no value may have the name " + METADATA);
      }
      Tensor t = value.getValue();
      entries.add(new Entry(value.getKey(), t.dtype(), t.shape(), at, at + t.bytes()));
      at += t.bytes();
    }
    return entries;
  }

  /** Returns the header's bytes; spaces at the end keep the values aligned to eight. */
  static byte[] write(List<Entry> entries) {
    List<String> parts = entries.stream().map(Entry::json).toList();
    byte[] json = ("{" + String.join(",", parts) + "}").getBytes(StandardCharsets.UTF_8);
    byte[] padded = Arrays.copyOf(json, (json.length + 7) / 8 * 8);
    Arrays.fill(padded, json.length, padded.length, (byte) ' ');
    return padded;
  }

  /**
   * Returns the entries that a header's bytes hold, in the order of their places.
   *
   * @param values how many bytes follow the header; the entries fill them without a gap
   */
  static List<Entry> read(byte[] header, long values) throws IOException {
    List<Entry> entries = parse(text(header));
    Set<String> names = new HashSet<>();
    entries.sort(Comparator.comparingLong(Entry::from));
    long at = 0;
    for (Entry entry : entries) {
      if (!names.add(entry.name)) {
        throw new IOException("the name " + entry.name + " stands twice");
      }
      if (entry.from != at) {
        throw new IOException(entry.name + " begins at byte " + entry.from + ", must at " + at);
      }
      if (entry.shape.size() > (entry.to - at) / entry.type.bytes()
          || entry.shape.size() * entry.type.bytes() != entry.to - at) {
        throw new IOException(
            "%s has %d bytes, which are not those of %s %s"
                .formatted(entry.name, entry.to - at, entry.type, entry.shape));
      }
      at = entry.to;
    }
    if (at != values) {
      throw new IOException("its tensors have " + at + " bytes, the file " + values);
    }
    return entries;
  }

  private static String text(byte[] header) throws IOException {
    try {
      return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(header)).toString();
    } catch (CharacterCodingException e) {
      throw new IOException("it is not UTF-8", e);
    }
  }

  private static List<Entry> parse(String text) throws IOException {
    List<Entry> entries = new ArrayList<>();
    JsonCursor json = new JsonCursor(text);
    json.expect('{');
    if (!json.next('}')) {
      do {
        String name = json.string();
        json.expect(':');
        if (name.equals(METADATA)) {
          skipMetadata(json);
        } else {
          entries.add(entry(json, name));
        }
      } while (json.next(','));
      json.expect('}');
    }
    json.expectEnd();
    return entries;
  }

  /** Reads notes of others: texts by name. */
  private static void skipMetadata(JsonCursor json) throws IOException {
    json.expect('{');
    if (json.next('}')) {
      return;
    }
    do {
      json.string();
      json.expect(':');
      json.string();
    } while (json.next(','));
    json.expect('}');
  }

  private static Entry entry(JsonCursor json, String name) throws IOException {
    DType type = null;
    Shape shape = null;
    long[] places = null;
    json.expect('{');
    do {
      String field = json.string();
      json.expect(':');
      switch (field) {
        case "dtype" -> type = type(name, json.string());
        case "shape" -> shape = shape(name, numbers(json));
        case "data_offsets" -> places = numbers(json);
        default -> throw new IOException(name + " has the unknown field " + field);
      }
    } while (json.next(','));
    json.expect('}');
    if (type == null || shape == null || places == null || places.length != 2) {
      throw new IOException(name + " lacks its dtype, its shape or its two data_offsets");
    }
    return new Entry(name, type, shape, places[0], places[1]);
  }

  private static long[] numbers(JsonCursor json) throws IOException {
    List<Long> numbers = new ArrayList<>();
    json.expect('[');
    if (!json.next(']')) {
      do {
        numbers.add(json.whole());
      } while (json.next(','));
      json.expect(']');
    }
    return numbers.stream().mapToLong(Long::longValue).toArray();
  }

  private static DType type(String name, String text) throws IOException {
    for (DType type : DType.values()) {
      if (type.name().equals(text)) {
        return type;
      }
    }
    throw new IOException(name + " has type " + text + ", must be F32, F64, BF16 or I32");
  }

  private static Shape shape(String name, long[] dims) throws IOException {
    try {
      return Shape.of(dims);
    } catch (IllegalArgumentException e) {
      throw new IOException(name + ": " + e.getMessage(), e);
    }
  }
}
