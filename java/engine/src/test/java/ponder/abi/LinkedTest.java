// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.lang.reflect.Parameter;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;

/** The wall between Java and the library, function by function. */
class LinkedTest {
  private static final Path BASE =
      Path.of(System.getProperty("ponder.library.path", "build/native"), "libponder_cpu_base.so");

  /** The exceptions of this test, told apart from all others. */
  private static final class Typed extends RuntimeException {
    private static final long serialVersionUID = 1;

    Typed(String kind, String sentence) {
      super(kind + ": " + sentence);
    }
  }

  private static final Failures FAILURES =
      new Failures() {
        @Override
        public RuntimeException outOfMemory(String sentence) {
          return new Typed("memory", sentence);
        }

        @Override
        public RuntimeException deviceFailed(String sentence) {
          return new Typed("device", sentence);
        }
      };

  private static List<Method> functions() {
    return Arrays.stream(Kernels.class.getMethods())
        .filter(m -> Modifier.isAbstract(m.getModifiers()))
        .toList();
  }

  /** Calls with 3 for sizes, 0 for other whole numbers, and the given arrays. */
  private static Throwable call(Kernels kernels, Method m, long size, MemorySegment[] arrays) {
    List<Object> arguments = new ArrayList<>();
    int array = 0;
    for (Parameter p : m.getParameters()) {
      arguments.add(
          switch (p.getType().getName()) {
            case "int" -> 0;
            case "long" -> size;
            case "double" -> 0.5;
            default -> arrays[array++];
          });
    }
    try {
      m.invoke(kernels, arguments.toArray());
      return null;
    } catch (InvocationTargetException e) {
      return e.getCause();
    } catch (IllegalAccessException e) {
      throw new AssertionError(e);
    }
  }

  /** Functions of recorded calls, which a CPU library refuses whatever they are given. */
  private static final Set<String> GRAPHS = Set.of("launch", "releaseGraph");

  /** Functions that take no array but what the library itself gave. */
  private static final Set<String> HANDLES = Set.of("release", "launch", "releaseGraph");

  private static long arrays(Method m) {
    return Arrays.stream(m.getParameterTypes()).filter(t -> t == MemorySegment.class).count();
  }

  /** Were one not checked, the library would read or write beyond it. */
  @Test
  void everyArrayTooShortIsRefused() {
    int tried = 0;
    try (Library.Context context = Library.open(BASE, FAILURES).open(0, 1, 0);
        Arena arena = Arena.ofConfined()) {
      for (Method m : functions()) {
        int count = (int) arrays(m);
        for (int i = 0; i < count && !HANDLES.contains(m.getName()); i++) {
          MemorySegment[] arrays = new MemorySegment[count];
          for (int j = 0; j < count; j++) {
            arrays[j] = arena.allocate(j == i ? 1 : 1 << 12, 64);
          }
          Throwable thrown = call(context.kernels(), m, 4, arrays);
          String what = m.getName() + " array " + i + ": " + thrown;
          assertInstanceOf(IllegalArgumentException.class, thrown, what);
          assertTrue(thrown.getMessage().contains("an array has 1 bytes"), what);
          tried++;
        }
      }
    }
    assertTrue(tried >= 170, "only " + tried);
  }

  @Test
  void nullsAndSizesBelowOneReachTheLibraryWhichRefusesThem() {
    try (Library.Context context = Library.open(BASE, FAILURES).open(0, 1, 0);
        Arena arena = Arena.ofConfined()) {
      for (Method m : functions()) {
        int count = (int) arrays(m);
        MemorySegment[] nulls = new MemorySegment[count];
        Arrays.fill(nulls, MemorySegment.NULL);
        if (count > 0 && !GRAPHS.contains(m.getName())) {
          Throwable thrown = call(context.kernels(), m, 3, nulls);
          assertInstanceOf(IllegalArgumentException.class, thrown, m.getName());
        }
        if (Arrays.asList(m.getParameterTypes()).contains(long.class)) {
          MemorySegment[] arrays = new MemorySegment[count];
          Arrays.setAll(arrays, j -> arena.allocate(1 << 12, 64));
          for (long size : new long[] {0, -1, Long.MIN_VALUE, Long.MAX_VALUE, 1L << 40}) {
            Throwable thrown = call(context.kernels(), m, size, arrays);
            assertTrue(
                thrown instanceof IllegalArgumentException || thrown instanceof Typed,
                m.getName() + " of " + size + ": " + thrown);
          }
        }
      }
    }
  }

  @Test
  void aStatusBecomesAnExceptionWithTheLibrarysSentence() {
    Library library = Library.open(BASE, FAILURES);
    try (Library.Context context = library.open(0, 1, 1 << 20);
        Arena arena = Arena.ofConfined()) {
      MemorySegment cell = arena.allocate(ValueLayout.ADDRESS);
      MemorySegment y = arena.allocate(64, 64);
      Typed full = assertThrows(Typed.class, () -> context.kernels().allocate(cell, 2 << 20));
      assertTrue(full.getMessage().startsWith("memory: "), full.getMessage());
      assertTrue(full.getMessage().contains("2097152"), full.getMessage());
      String sentence =
          assertThrows(IllegalArgumentException.class, () -> context.kernels().fill(0, y, -3, 1))
              .getMessage();
      assertTrue(sentence.startsWith("fill: "), sentence);
      assertTrue(sentence.contains("-3"), sentence);
      context.kernels().fill(0, y, 16, 2);
      assertEquals(2, y.getAtIndex(ValueLayout.JAVA_FLOAT, 15));
    }
    assertThrows(IllegalArgumentException.class, () -> library.open(0, -1, 0));
    assertInstanceOf(UnsupportedOperationException.class, library.failure(3, MemorySegment.NULL));
    assertTrue(library.failure(4, MemorySegment.NULL).getMessage().startsWith("device: "));
    assertTrue(library.failure(77, MemorySegment.NULL).getMessage().contains("status 77"));
  }

  @Test
  void memoryOfTheHeapAndClosedMemoryAreRefused() {
    try (Library.Context context = Library.open(BASE, FAILURES).open(0, 1, 0)) {
      MemorySegment heap = MemorySegment.ofArray(new float[16]);
      assertThrows(IllegalArgumentException.class, () -> context.kernels().fill(0, heap, 16, 1));
      MemorySegment closed;
      try (Arena arena = Arena.ofConfined()) {
        closed = arena.allocate(64, 64);
      }
      assertThrows(IllegalStateException.class, () -> context.kernels().fill(0, closed, 16, 1));
    }
  }

  @Test
  void theVersionIsTheHeaders() {
    assertTrue(Header.text().contains("#define PND_ABI_VERSION " + Library.ABI_VERSION + "\n"));
  }

  @Test
  void whatIsNotThisHeadersLibraryIsRefused() {
    String other =
        assertThrows(
                IllegalArgumentException.class,
                () -> Library.open(Path.of("/proc/self/exe"), FAILURES))
            .getMessage();
    assertTrue(other.contains("cannot load") || other.contains("pnd_abi_version"), other);
  }
}
