// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.regex.Pattern;

/** The declarations of {@code native/include/ponder.h}, read from its text. */
public final class Header {
  /** A parameter: its C type without the name, such as {@code const void *}, and its C name. */
  public record Parameter(String type, String name) {
    public boolean pointer() {
      return type.endsWith("*");
    }

    /** Whether the function writes through it; what it only reads is const in the header. */
    public boolean written() {
      return pointer() && !type.startsWith("const ");
    }

    public String javaName() {
      return camel(name);
    }

    /** Returns the Java type that stands for the C type in {@link Kernels}. */
    public Class<?> javaType() {
      if (pointer()) return java.lang.foreign.MemorySegment.class;
      return switch (type) {
        case "int32_t" -> int.class;
        case "int64_t" -> long.class;
        case "double" -> double.class;
        default -> throw new IllegalArgumentException("no Java type stands for " + type);
      };
    }
  }

  /** A function: its name without {@code pnd_}, and its parameters, the context included. */
  public record Function(String name, String returns, List<Parameter> parameters) {
    public Function {
      parameters = List.copyOf(parameters);
    }

    public String javaName() {
      return camel(name);
    }

    /** Returns the parameters after the context. */
    public List<Parameter> arguments() {
      return parameters.subList(1, parameters.size());
    }
  }

  /** The functions that open, close and describe a library; {@link Library} calls them. */
  public static final Set<String> LIFE = Set.of("open", "close", "message", "abi_version", "build");

  private static final Pattern COMMENT = Pattern.compile("/\\*.*?\\*/", Pattern.DOTALL);
  private static final Pattern DECLARATION =
      Pattern.compile("PND_API\\s+(\\w+)\\s+pnd_(\\w+)\\(([^)]*)\\);");
  private static final Pattern PARAMETER = Pattern.compile("(.*?[\\s*])(\\w+)");

  private Header() {}

  /** The file, read when it is first asked for. */
  private static final class Read {
    static final List<Function> FUNCTIONS = parse(text());
  }

  /** Returns every function of the header, in its order. */
  public static List<Function> functions() {
    return Read.FUNCTIONS;
  }

  /** Returns the functions that {@link Kernels} holds, in the header's order. */
  public static List<Function> kernels() {
    return functions().stream().filter(f -> !LIFE.contains(f.name())).toList();
  }

  static List<Function> parse(String text) {
    var functions = new ArrayList<Function>();
    var code = COMMENT.matcher(text).replaceAll(" ");
    var declarations = DECLARATION.matcher(code);
    while (declarations.find()) {
      var parameters = new ArrayList<Parameter>();
      for (String part : declarations.group(3).trim().split("\\s*,\\s*")) {
        var match = PARAMETER.matcher(part.replaceAll("\\s+", " "));
        if (!match.matches()) throw new IllegalArgumentException("not a parameter: " + part);
        parameters.add(new Parameter(match.group(1).trim(), match.group(2)));
      }
      functions.add(new Function(declarations.group(2), declarations.group(1), parameters));
    }
    return List.copyOf(functions);
  }

  /** Returns the file or folder of that path in the repository this test runs in. */
  public static Path repository(String path) {
    Path here = Path.of("").toAbsolutePath();
    for (Path at = here; at != null; at = at.getParent()) {
      if (Files.exists(at.resolve("native/include/ponder.h"))) return at.resolve(path);
    }
    throw new IllegalStateException("no native/include/ponder.h above " + here);
  }

  static String text() {
    try {
      return Files.readString(repository("native/include/ponder.h"));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  static String camel(String name) {
    var result = new StringBuilder();
    for (String word : name.split("_")) {
      if (result.isEmpty()) result.append(word);
      else result.append(Character.toUpperCase(word.charAt(0))).append(word.substring(1));
    }
    return result.toString();
  }
}
