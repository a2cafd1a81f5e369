// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * One context of one library: how its functions are found and called, and how arrays are measured.
 * A method handle belongs to a list of parameter types, not to a function: it is a constant that
 * every library shares, and takes the function's address as its first argument. The lists that
 * several functions have are here, behind {@code call}; any other stands beside its function.
 */
abstract class Link {
  private static final MethodHandle P = handle("P");
  private static final MethodHandle P2L = handle("P2L");
  private static final MethodHandle NONE = handle("");
  private static final MethodHandle IP2L = handle("IP2L");
  private static final MethodHandle IP3L3 = handle("IP3L3");
  private static final MethodHandle IP2L3 = handle("IP2L3");
  private static final MethodHandle IP2L5 = handle("IP2L5");
  private static final MethodHandle IP3L4 = handle("IP3L4");
  private static final MethodHandle IP2L2 = handle("IP2L2");
  private static final MethodHandle IP3L = handle("IP3L");
  private static final MethodHandle IP2L5D = handle("IP2L5D");

  private final Library library;
  final MemorySegment context;

  Link(Library library, MemorySegment context) {
    this.library = library;
    this.context = context;
  }

  /**
   * Returns the address of a function.
   *
   * @throws UnsatisfiedLinkError if the library lacks it
   */
  final MemorySegment function(String name) {
    return library.function(name);
  }

  /**
   * Returns the handle for a list of parameters after the context: I for int32_t, L for int64_t, D
   * for double, P for a pointer, each with the number of times it stands in a row.
   */
  @SuppressWarnings("restricted")
  static MethodHandle handle(String parameters) {
    List<MemoryLayout> layouts = new ArrayList<>();
    layouts.add(ADDRESS);
    Matcher run = Pattern.compile("([ILDP])(\\d*)").matcher(parameters);
    while (run.find()) {
      MemoryLayout layout =
          switch (run.group(1)) {
            case "I" -> JAVA_INT;
            case "L" -> JAVA_LONG;
            case "D" -> JAVA_DOUBLE;
            default -> ADDRESS;
          };
      int times = run.group(2).isEmpty() ? 1 : Integer.parseInt(run.group(2));
      layouts.addAll(Collections.nCopies(times, layout));
    }
    MemoryLayout[] all = layouts.toArray(MemoryLayout[]::new);
    return Linker.nativeLinker().downcallHandle(FunctionDescriptor.of(JAVA_INT, all));
  }

  /** Returns the size of an element; 0 for a type the library will refuse. */
  static long bytes(int dtype) {
    return dtype == 1 ? 8 : dtype == 0 || dtype == 2 ? 4 : dtype == 3 ? 2 : 0;
  }

  /** Returns the size of what is computed from a type and not rounded to it. */
  static long sumBytes(int dtype) {
    return dtype == 3 ? 4 : bytes(dtype);
  }

  /** Returns the product of sizes; 0 if one is below 1 or the product overflows. */
  static long times(long a, long b) {
    return a <= 0 || b <= 0 || Math.multiplyHigh(a, b) != 0 || a * b < 0 ? 0 : a * b;
  }

  static long times(long a, long b, long c) {
    return times(times(a, b), c);
  }

  static long times(long a, long b, long c, long d) {
    return times(times(a, b, c), d);
  }

  static long times(long a, long b, long c, long d, long e) {
    return times(times(a, b, c, d), e);
  }

  static long times(long a, long b, long c, long d, long e, long f) {
    return times(times(a, b, c, d, e), f);
  }

  /** Refuses an array of fewer bytes than its sizes ask for, unless it is null. */
  static void reach(long bytes, MemorySegment a) {
    if (a.byteSize() < bytes && a.address() != 0) {
      throw new IllegalArgumentException(
          "an array has " + a.byteSize() + " bytes, the sizes ask for " + bytes);
    }
  }

  static void reach(long bytes, MemorySegment a, MemorySegment b) {
    reach(bytes, a);
    reach(bytes, b);
  }

  static void reach(long bytes, MemorySegment a, MemorySegment b, MemorySegment c) {
    reach(bytes, a, b);
    reach(bytes, c);
  }

  static void reach(
      long bytes, MemorySegment a, MemorySegment b, MemorySegment c, MemorySegment d) {
    reach(bytes, a, b);
    reach(bytes, c, d);
  }

  /** Throws what a status other than ok becomes. */
  final void check(int status) {
    if (status != 0) {
      throw library.failure(status, context);
    }
  }

  /** Returns what a call threw, which declares more than it throws. */
  static RuntimeException unexpected(Throwable t) {
    if (t instanceof RuntimeException e) {
      return e;
    }
    if (t instanceof Error e) {
      throw e;
    }
    return new IllegalStateException(t);
  }

  /** Calls a function whose list of parameters others have, too. */
  final void call(MemorySegment function, MemorySegment p0) {
    try {
      check((int) P.invokeExact(function, context, p0));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(MemorySegment function, MemorySegment p0, MemorySegment p1, long n2) {
    try {
      check((int) P2L.invokeExact(function, context, p0, p1, n2));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(MemorySegment function) {
    try {
      check((int) NONE.invokeExact(function, context));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(MemorySegment function, int i0, MemorySegment p1, MemorySegment p2, long n3) {
    try {
      check((int) IP2L.invokeExact(function, context, i0, p1, p2, n3));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      long n4,
      long n5,
      long n6) {
    try {
      check((int) IP3L3.invokeExact(function, context, i0, p1, p2, p3, n4, n5, n6));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      long n3,
      long n4,
      long n5) {
    try {
      check((int) IP2L3.invokeExact(function, context, i0, p1, p2, n3, n4, n5));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      long n3,
      long n4,
      long n5,
      long n6,
      long n7) {
    try {
      check((int) IP2L5.invokeExact(function, context, i0, p1, p2, n3, n4, n5, n6, n7));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      long n4,
      long n5,
      long n6,
      long n7) {
    try {
      check((int) IP3L4.invokeExact(function, context, i0, p1, p2, p3, n4, n5, n6, n7));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(
      MemorySegment function, int i0, MemorySegment p1, MemorySegment p2, long n3, long n4) {
    try {
      check((int) IP2L2.invokeExact(function, context, i0, p1, p2, n3, n4));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      long n4) {
    try {
      check((int) IP3L.invokeExact(function, context, i0, p1, p2, p3, n4));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  final void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      long n3,
      long n4,
      long n5,
      long n6,
      long n7,
      double d8) {
    try {
      check((int) IP2L5D.invokeExact(function, context, i0, p1, p2, n3, n4, n5, n6, n7, d8));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }
}
