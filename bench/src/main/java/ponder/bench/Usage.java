// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * What this process has used of the machine, native threads included. The JDK's own count of
 * processor time advances in steps of ten milliseconds; the C library's does not.
 *
 * @param wallNanos time gone by
 * @param cpuNanos processor time of all threads
 * @param ownNanos processor time of the thread that asks
 * @param switches how often a thread lost its core to another process, or to one of its own
 * @param stealNanos what the machine's host took from all cores
 */
record Usage(long wallNanos, long cpuNanos, long ownNanos, long switches, long stealNanos) {
  private static final int PROCESS_CPU = 2;
  private static final int THREAD_CPU = 3;
  private static final int SELF = 0;

  /** Where {@code struct rusage} holds the involuntary context switches, and its size. */
  private static final long SWITCHES = 136;

  private static final long RUSAGE_BYTES = 144;
  private static final long NANOS = 1_000_000_000;

  /** Linux counts in hundredths of a second, on every processor family. */
  private static final long TICK_NANOS = 10_000_000;

  private static final MethodHandle CLOCK = handle("clock_gettime");
  private static final MethodHandle RUSAGE = handle("getrusage");

  /** Returns what has been used since the process, and this thread, began. */
  static Usage now() {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment usage = arena.allocate(RUSAGE_BYTES, 8);
      int failed = (int) RUSAGE.invokeExact(SELF, usage);
      if (failed != 0) throw new IllegalStateException("the system does not tell its usage");
      long switches = usage.get(JAVA_LONG, SWITCHES);
      long stolen = steal();
      return new Usage(System.nanoTime(), clock(PROCESS_CPU), threadNanos(), switches, stolen);
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  /** Returns what has been used since then, when the same thread asked. */
  Usage since(Usage then) {
    return new Usage(
        wallNanos - then.wallNanos,
        cpuNanos - then.cpuNanos,
        ownNanos - then.ownNanos,
        switches - then.switches,
        stealNanos - then.stealNanos);
  }

  /** Returns the processor time of this thread alone. */
  static long threadNanos() {
    return clock(THREAD_CPU);
  }

  private static long clock(int which) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment clock = arena.allocate(16, 8);
      int failed = (int) CLOCK.invokeExact(which, clock);
      if (failed != 0) throw new IllegalStateException("the system has no clock " + which);
      return clock.get(JAVA_LONG, 0) * NANOS + clock.get(JAVA_LONG, 8);
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  private static long steal() {
    try {
      String cpu = Files.readString(Path.of("/proc/stat")).lines().findFirst().orElse("");
      String[] word = cpu.split(" +");
      return word.length > 8 ? Long.parseLong(word[8]) * TICK_NANOS : 0;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static MethodHandle handle(String name) {
    Linker linker = Linker.nativeLinker();
    return linker.downcallHandle(
        linker.defaultLookup().find(name).orElseThrow(),
        FunctionDescriptor.of(JAVA_INT, JAVA_INT, ADDRESS));
  }
}
