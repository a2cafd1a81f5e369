// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.lang.reflect.Modifier;
import java.nio.file.Files;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The header and the Java interface say the same: names, types, order. */
class AbiTest {
  /** Reflection gives methods in no order and parameters without names; the source has both. */
  private static final Pattern METHOD =
      Pattern.compile("^  void (\\w+)\\(([^)]*)\\);", Pattern.MULTILINE);

  @Test
  void theHeaderIsReadWhole() {
    String text = Header.text();
    int marks = text.split("PND_API int32_t", -1).length - 1;
    assertEquals(marks, Header.functions().size());
    assertTrue(marks >= 60, "only " + marks + " functions found");
    for (var function : Header.functions()) {
      assertEquals("int32_t", function.returns(), function.name());
      String first = function.name().equals("open") ? "pnd_context **" : "pnd_context *";
      assertEquals(new Header.Parameter(first, "context"), function.parameters().get(0));
    }
  }

  @Test
  void everyFunctionIsOneMethodOfKernels() throws IOException {
    assertEquals(String.join("\n", declared()), String.join("\n", methods()));
    long abstractMethods =
        Stream.of(Kernels.class.getMethods())
            .filter(m -> Modifier.isAbstract(m.getModifiers()))
            .count();
    assertEquals(Header.kernels().size(), abstractMethods);
  }

  /** Two arrays exchanged on the way to the library would fit its types. */
  @Test
  void everyMethodOfLinkedHandsItsArgumentsOnInTheirOrder() throws IOException {
    var rooms = new StringBuilder();
    for (Class<?> room = Linked.class; room != Object.class; room = room.getSuperclass()) {
      rooms.append(source(room.getSimpleName()));
    }
    String source = rooms.toString().replaceAll("\\s+", " ").replace("( ", "(");
    for (var function : Header.kernels()) {
      String name = function.javaName();
      assertTrue(source.contains(" " + name + " = function(\"" + name + "\");"), name);
      var types = new ArrayList<String>();
      var names = new ArrayList<String>();
      for (var parameter : function.arguments()) {
        types.add(parameter.javaType().getSimpleName() + " " + parameter.javaName());
        names.add(parameter.javaName());
      }
      String head = "public void " + name + "(" + String.join(", ", types) + ") {";
      int start = source.indexOf(head);
      assertTrue(start >= 0, "Linked has no " + head);
      var call = Pattern.compile("(call|invokeExact)\\(([^()]*)\\)").matcher(source);
      assertTrue(call.find(start), name);
      var handed = new ArrayList<>(List.of(name));
      if (call.group(1).equals("invokeExact")) handed.add("context");
      handed.addAll(names);
      // A field whose name is a parameter's too is written this.name.
      assertEquals(String.join(", ", handed), call.group(2).replace("this.", ""));
    }
  }

  @Test
  void theOrderOfArgumentsIsTheHeadersRule() {
    for (var function : Header.kernels()) {
      int stage = 0;
      for (var parameter : function.arguments()) {
        int now = stage(parameter);
        // An int32_t switch may stand among the scalars; a size may not follow one.
        assertTrue(now >= stage, function.name() + ": " + parameter.name() + " is out of order");
        stage = now;
      }
    }
  }

  private static int stage(Header.Parameter parameter) {
    if (parameter.name().equals("dtype")) return 0;
    if (parameter.written()) return 1;
    if (parameter.pointer()) return 2;
    return parameter.type().equals("int64_t") ? 3 : 4;
  }

  private static List<String> declared() {
    var lines = new ArrayList<String>();
    for (var function : Header.kernels()) {
      var words = new ArrayList<String>();
      for (var parameter : function.arguments()) {
        words.add(parameter.javaType().getSimpleName() + " " + parameter.javaName());
      }
      lines.add(function.javaName() + "(" + String.join(", ", words) + ")");
    }
    return lines;
  }

  private static List<String> methods() throws IOException {
    var lines = new ArrayList<String>();
    var match = METHOD.matcher(source("Kernels"));
    while (match.find()) {
      String words = match.group(2).trim().replaceAll("\\s+", " ");
      lines.add(match.group(1) + "(" + words + ")");
    }
    return lines;
  }

  private static String source(String type) throws IOException {
    String path = "java/engine/src/main/java/ponder/abi/" + type + ".java";
    return Files.readString(Header.repository(path));
  }
}
