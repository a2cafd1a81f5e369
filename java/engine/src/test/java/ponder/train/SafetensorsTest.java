// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;

/** Saved values: what the file holds, what is read back, what damage is refused. */
class SafetensorsTest {
  private final Device device = TestDevices.open(TestDevices.PLAIN);

  @TempDir private Path folder;

  @AfterEach
  void close() {
    device.close();
  }

  private Store store(long seed) {
    Store store = device.store();
    Key key = Key.of(seed);
    try (Scope scope = device.open()) {
      store.add("layer0.weight", scope.tensor(Shape.of(3, 5), key.normalFloats(15)));
      store.add("wide", scope.tensor(Shape.of(2, 1, 2), key.normalDoubles(4)));
      store.add("half", scope.tensor(Shape.of(3), 1, -2.5f, 1e-39f).cast(DType.BF16));
      store.add("step", scope.indices(Shape.of(1), (int) seed));
      store.add("a \"quoted\"\n\\ name é", scope.tensor(Shape.scalar(), (float) seed));
    }
    return store;
  }

  private static List<Object> values(Store store) {
    List<Object> values = new ArrayList<>();
    for (String name : store.names()) {
      Tensor t = store.get(name);
      values.add(name);
      values.add(t.toString());
      values.add(
          switch (t.dtype()) {
            case DType.F32, DType.BF16 -> Arrays.toString(t.toFloats());
            case DType.F64 -> Arrays.toString(t.toDoubles());
            case DType.I32 -> Arrays.toString(t.toInts());
          });
    }
    return values;
  }

  /** A tensor as the format's description says, read without the code under test. */
  private record Raw(String type, String shape, byte[] bytes) {}

  private static Map<String, Raw> parse(byte[] file) {
    ByteBuffer buffer = ByteBuffer.wrap(file).order(ByteOrder.LITTLE_ENDIAN);
    int length = (int) buffer.getLong();
    assertEquals(0, length % 8);
    String header = new String(file, 8, length, StandardCharsets.UTF_8).stripTrailing();
    Matcher entry =
        Pattern.compile(
                "\"((?:[^\"\\\\]|\\\\.)*)\":\\{\"dtype\":\"(\\w+)\",\"shape\":\\[([^]]*)],"
                    + "\"data_offsets\":\\[(\\d+),(\\d+)]}[,}]")
            .matcher(header);
    assertEquals('{', header.charAt(0));
    int at = 1;
    int values = 0;
    Map<String, Raw> tensors = new LinkedHashMap<>();
    while (at < header.length()) {
      assertTrue(entry.find(at) && entry.start() == at, header);
      at = entry.end();
      int from = Integer.parseInt(entry.group(4));
      int to = Integer.parseInt(entry.group(5));
      assertEquals(values, from);
      values = to;
      byte[] bytes = Arrays.copyOfRange(file, 8 + length + from, 8 + length + to);
      String shape = entry.group(3).replace(" ", "");
      tensors.put(entry.group(1), new Raw(entry.group(2), shape, bytes));
    }
    assertEquals(file.length, 8 + length + values);
    return tensors;
  }

  @Test
  void theFileHoldsEveryValueAsTheFormatSays() throws IOException {
    Store store = store(7);
    Path file = folder.resolve("model.safetensors");
    Safetensors.write(file, store);
    Map<String, Raw> tensors = parse(Files.readAllBytes(file));
    assertEquals(
        Set.of("layer0.weight", "wide", "half", "step", "a \\\"quoted\\\"\\u000a\\\\ name é"),
        tensors.keySet());
    Raw weight = tensors.get("layer0.weight");
    assertEquals("F32", weight.type);
    assertEquals("3,5", weight.shape);
    float[] floats = new float[15];
    ByteBuffer.wrap(weight.bytes).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(floats);
    assertArrayEquals(Key.of(7).normalFloats(15), floats);
    Raw wide = tensors.get("wide");
    assertEquals("F64", wide.type);
    assertEquals("2,1,2", wide.shape);
    double[] doubles = new double[4];
    ByteBuffer.wrap(wide.bytes).order(ByteOrder.LITTLE_ENDIAN).asDoubleBuffer().get(doubles);
    assertArrayEquals(Key.of(7).normalDoubles(4), doubles);
    assertEquals("BF16", tensors.get("half").type);
    byte[] half = {(byte) 0x80, 0x3f, 0x20, (byte) 0xc0, 11, 0};
    assertArrayEquals(half, tensors.get("half").bytes);
    assertEquals("I32", tensors.get("step").type);
    assertArrayEquals(new byte[] {7, 0, 0, 0}, tensors.get("step").bytes);
    Raw scalar = tensors.get("a \\\"quoted\\\"\\u000a\\\\ name é");
    assertEquals("", scalar.shape);
    assertArrayEquals(new byte[] {0, 0, (byte) 0xE0, 0x40}, scalar.bytes);
  }

  @Test
  void whatIsWrittenIsReadBack() throws IOException {
    Path file = folder.resolve("model.safetensors");
    Store written = store(7);
    Safetensors.write(file, written);
    Store model = store(8);
    Tensor step = model.get("step");
    Safetensors.read(file, model);
    assertEquals(values(written), values(model));
    assertArrayEquals(new int[] {7}, step.toInts());
    Store empty = device.store();
    Safetensors.read(file, empty);
    assertEquals(values(written), values(empty));
  }

  @Test
  void filesOfOthersAreRead() throws IOException {
    String header =
        " { \"__metadata__\" : {\"format\":\"pt\", \"by\":\"\\u00e9 \\n\"},"
            + "\"b\":{\"data_offsets\":[4,12],\"shape\":[2],\"dtype\":\"I32\"},\n"
            + "\"a\\u002e\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}}  ";
    Path file = file(header, 0, 0, (byte) 0x80, 0x3F, 1, 0, 0, 0, -1, -1, -1, -1);
    Store store = device.store();
    Safetensors.read(file, store);
    assertEquals(List.of("a.", "b"), List.copyOf(store.names()));
    assertEquals(1, store.get("a.").item());
    assertArrayEquals(new int[] {1, -1}, store.get("b").toInts());
    Safetensors.read(file("{}"), device.store());
    Safetensors.read(file("{\"__metadata__\":{}}"), device.store());
  }

  private Path file(String header, int... values) throws IOException {
    byte[] text = header.getBytes(StandardCharsets.UTF_8);
    ByteBuffer bytes =
        ByteBuffer.allocate(8 + text.length + values.length).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(text.length).put(text);
    for (int value : values) {
      bytes.put((byte) value);
    }
    return Files.write(folder.resolve("made"), bytes.array());
  }

  /** Single quotes stand for double ones. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '"',
      textBlock =
          """
          {'a':{'dtype':'F16','shape':[1],'data_offsets':[0,4]}} | type F16
          {'a':{'dtype':'F32','shape':[2],'data_offsets':[0,4]}} | 4 bytes
          {'a':{'dtype':'F64','shape':[1],'data_offsets':[0,4]}} | 4 bytes
          {'a':{'dtype':'F32','shape':[0],'data_offsets':[0,4]}} | below 1
          {'a':{'dtype':'F32','shape':[-1],'data_offsets':[0,4]}} | is '-', must be a whole number
          {'a':{'dtype':'F32','shape':[1.0],'data_offsets':[0,4]}} | is '.', must be ']'
          {'a':{'dtype':'F32','shape':[01],'data_offsets':[0,4]}} | whole number
          {'a':{'dtype':'F32','shape':[100000000000,1000000000],'data_offsets':[0,4]}} | overflow
          {'a':{'dtype':'F32','shape':[4611686018427387905],'data_offsets':[0,4]}} | digits
          {'a':{'dtype':'F32','shape':[500000000000000000,8],'data_offsets':[0,4]}} | 4 bytes
          # 2^62 + 1 elements, whose bytes are 4 in 64 bits
          {'a':{'dtype':'F32','shape':[5,5581,8681,49477,384773],'data_offsets':[0,4]}} | 4 bytes
          {'a':{'dtype':'F32','shape':[1],'data_offsets':[1,4]}} | begins at byte 1, must at 0
          {'a':{'dtype':'F32','shape':[1],'data_offsets':[0,8]}} | has 8 bytes, which
          {'a':{'dtype':'F32','shape':[1],'data_offsets':[4,0]}} | begins at byte 4
          {'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}} | the file 4
          {'a':{'dtype':'F32','shape':[1],'data_offsets':[0]}} | data_offsets
          {'a':{'dtype':'F32','shape':[1]}} | data_offsets
          {'a':{'shape':[1],'data_offsets':[0,4]}} | dtype
          {'a':{'dtype':'F32','data_offsets':[0,4]}} | shape
          {'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4],'x':[]}} | field x
          {'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]} | character 53 is the end
          {'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}}} | must be the end
          {'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}} x | must be the end
          {'a:{'dtype':'F32','shape':[1],'data_offsets':[0,4]}} | must be ':'
          {'a':{'dtype':'F32 | must be a closing quote
          {'\\x':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}} | escaped
          {'\\u00g0':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}} | hexadecimal
          {'__metadata__':{'n':1}} | must be
          {} | the file 4
          [] | must be
          "  " | must be
          """)
  void aDamagedHeaderIsRefused(String header, String reason) throws IOException {
    Path file = file(header.replace('\'', '"'), 0, 0, 0, 0);
    String message = refused(file, device.store());
    assertTrue(message.contains(reason.replace('\'', '"')), message);
  }

  @Test
  void tensorsThatShareBytesOrANameAreRefused() throws IOException {
    String a = "\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}";
    Path overlapping = file("{" + a + "," + a.replace("\"a\"", "\"b\"") + "}", 0, 0, 0, 0);
    assertTrue(refused(overlapping, device.store()).endsWith("b begins at byte 0, must at 4"));
    Path twice = file("{" + a + "," + a.replace("0,4", "4,8") + "}", 0, 0, 0, 0, 0, 0, 0, 0);
    assertTrue(refused(twice, device.store()).endsWith("the name a stands twice"));
  }

  /** Returns the sentence of a refusal, which names the file and leaves the store as it was. */
  private static String refused(Path file, Store store) {
    List<Object> before = values(store);
    String message =
        assertThrows(IOException.class, () -> Safetensors.read(file, store)).getMessage();
    assertTrue(message.startsWith(file + ": "), message);
    assertFalse(message.contains("\n"), message);
    assertEquals(before, values(store));
    return message;
  }

  @Test
  void aHeaderThatIsNotUtf8IsRefused() throws IOException {
    byte[] file = Files.readAllBytes(file("{\"a\":{}}"));
    file[10] = (byte) 0xFF;
    String message = refused(Files.write(folder.resolve("x"), file), device.store());
    assertTrue(message.endsWith("header: it is not UTF-8"), message);
  }

  @Test
  void aLengthThatTheFileDoesNotHoldIsRefused() throws IOException {
    for (long length : new long[] {-1, 0, 1, 11, 1L << 40, Long.MIN_VALUE, Long.MAX_VALUE}) {
      byte[] bytes = new byte[18];
      ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN).putLong(length);
      String message = refused(Files.write(folder.resolve("x"), bytes), device.store());
      assertTrue(message.contains("length is " + length + ", but 10 bytes"), message);
    }
  }

  @Test
  void aFileCutAnywhereIsRefused() throws IOException {
    Path file = folder.resolve("model.safetensors");
    Safetensors.write(file, store(7));
    byte[] whole = Files.readAllBytes(file);
    Store model = store(8);
    for (int length = 0; length < whole.length; length++) {
      refused(Files.write(folder.resolve("cut"), Arrays.copyOf(whole, length)), model);
    }
    refused(Files.write(folder.resolve("long"), Arrays.copyOf(whole, whole.length + 1)), model);
  }

  /** Any byte of the header may be wrong: either the file reads as something, or it is refused. */
  @Test
  void noFlippedByteLeadsAstray() throws IOException {
    Path file = folder.resolve("model.safetensors");
    Safetensors.write(file, store(7));
    byte[] whole = Files.readAllBytes(file);
    int end = 8 + (int) ByteBuffer.wrap(whole).order(ByteOrder.LITTLE_ENDIAN).getLong();
    int refused = 0;
    for (int i = 0; i < end; i++) {
      for (int mask : new int[] {1, 4, 16, 0x80}) {
        byte[] damaged = whole.clone();
        damaged[i] ^= (byte) mask;
        Path place = Files.write(folder.resolve("flipped"), damaged);
        try (Store store = device.store()) {
          Safetensors.read(place, store);
        } catch (IOException e) {
          assertTrue(e.getMessage().startsWith(place + ": "), e.getMessage());
          refused++;
        }
      }
    }
    assertTrue(refused > 2 * end, refused + " of " + 4 * end);
  }

  @Test
  void aFileOfAnotherModelIsRefused() throws IOException {
    Path file = folder.resolve("model.safetensors");
    Safetensors.write(file, store(7));
    try (Scope scope = device.open()) {
      Store more = store(8);
      more.add("more", scope.tensor(Shape.of(1), 1f));
      assertTrue(refused(file, more).endsWith("it has no value more, the store has one"));
      Store fewer = device.store();
      fewer.add("wide", scope.tensor(Shape.of(2, 1, 2), 1.0, 2, 3, 4));
      assertTrue(refused(file, fewer).contains("it has a value layer0.weight, the store"));
      Store misshapen = device.store();
      misshapen.add("layer0.weight", scope.full(DType.F32, Shape.of(5, 3), 0));
      String shape = refused(file, misshapen);
      assertTrue(shape.endsWith("layer0.weight is F32 [3, 5], must be F32 [5, 3]"), shape);
      Store mistyped = device.store();
      mistyped.add("layer0.weight", scope.full(DType.F64, Shape.of(3, 5), 0));
      String type = refused(file, mistyped);
      assertTrue(type.endsWith("layer0.weight is F32 [3, 5], must be F64 [3, 5]"), type);
    }
    refused(folder, device.store());
    assertThrows(IOException.class, () -> Safetensors.read(folder.resolve("none"), device.store()));
  }

  @Test
  void aFailedWriteLeavesTheOldFileAndNothingElse() throws IOException {
    Path file = folder.resolve("model.safetensors");
    Safetensors.write(file, store(7));
    byte[] old = Files.readAllBytes(file);
    Store store = store(8);
    Path taken = Files.createDirectories(folder.resolve("taken/inside")).getParent();
    assertThrows(IOException.class, () -> Safetensors.write(taken, store));
    Path nowhere = folder.resolve("none/model");
    assertThrows(IOException.class, () -> Safetensors.write(nowhere, store));
    Path full = Path.of("/dev/full");
    if (Files.exists(full)) {
      // The draft's place leads to a device on which every write finds no room.
      Files.createSymbolicLink(folder.resolve("model.safetensors.part"), full);
      String reason =
          assertThrows(IOException.class, () -> Safetensors.write(file, store)).getMessage();
      assertTrue(reason.contains("No space left"), reason);
    }
    store.close();
    assertThrows(IllegalStateException.class, () -> Safetensors.write(file, store));
    assertArrayEquals(old, Files.readAllBytes(file));
    assertEquals(Set.of("model.safetensors", "taken"), names());
    Safetensors.write(file, store(9));
    assertFalse(Arrays.equals(old, Files.readAllBytes(file)));
    assertEquals(Set.of("model.safetensors", "taken"), names());
  }

  private Set<String> names() throws IOException {
    try (var files = Files.list(folder)) {
      return Set.copyOf(files.map(f -> f.getFileName().toString()).toList());
    }
  }

  @Test
  void aValueCannotHaveTheNameOfTheMetadata() throws IOException {
    Store store = device.store();
    try (Scope scope = device.open()) {
      store.add("__metadata__", scope.tensor(Shape.of(1), 1f));
    }
    assertThrows(
        IllegalArgumentException.class, () -> Safetensors.write(folder.resolve("x"), store));
    assertEquals(Set.of(), names());
  }
}
