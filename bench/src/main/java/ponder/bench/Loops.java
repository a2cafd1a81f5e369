// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Path;

/** The library of {@code bench/native}: loops at full speed, and calls that do nothing. */
final class Loops {
  /** Names the library's file. */
  static final String PATH_PROPERTY = "ponder.bench.library";

  private static final Linker LINKER = Linker.nativeLinker();
  private static final SymbolLookup SYMBOLS =
      SymbolLookup.libraryLookup(Path.of(path()), Arena.global());
  private static final MethodHandle LOOP =
      LINKER.downcallHandle(FunctionDescriptor.of(JAVA_LONG, JAVA_LONG, JAVA_LONG));
  private static final MethodHandle ONE =
      LINKER.downcallHandle(symbol("bench_one"), FunctionDescriptor.of(JAVA_INT, ADDRESS));
  private static final MethodHandle SIX =
      LINKER.downcallHandle(
          symbol("bench_six"),
          FunctionDescriptor.of(
              JAVA_INT, ADDRESS, ADDRESS, ADDRESS, JAVA_LONG, JAVA_LONG, JAVA_DOUBLE));

  private Loops() {}

  /** Returns the library's file. */
  static String path() {
    String path = System.getProperty(PATH_PROPERTY);
    if (path == null) {
      throw new IllegalStateException("-D" + PATH_PROPERTY + " names no library of the loops");
    }
    return path;
  }

  /** Runs {@code bench_<loop>} and returns how much it did. */
  static long run(String loop, long bytes, long rounds) {
    try {
      return (long) LOOP.invokeExact(symbol("bench_" + loop), bytes, rounds);
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  /** Calls a function of one pointer. */
  static int one(MemorySegment a) {
    try {
      return (int) ONE.invokeExact(a);
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  /** Calls a function of three pointers, two sizes and a scalar. */
  static int six(MemorySegment a, MemorySegment b, MemorySegment c, long rows, long cols) {
    try {
      return (int) SIX.invokeExact(a, b, c, rows, cols, 1.0);
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  private static MemorySegment symbol(String name) {
    return SYMBOLS.find(name).orElseThrow(() -> new UnsatisfiedLinkError("there is no " + name));
  }
}
