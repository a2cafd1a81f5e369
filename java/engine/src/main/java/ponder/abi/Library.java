// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.io.IOException;
import java.io.InputStream;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.invoke.MethodHandle;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Locale;

/**
 * One library of ponder.h, opened and found to speak this version. It stays in the process for
 * good, as its threads may not lose their code; contexts come and go.
 */
public final class Library {
  /** The version of the header that {@link Kernels} was written from. */
  static final int ABI_VERSION = 7;

  private static final long TEXT_BYTES = 1024;
  private static final MethodHandle OPEN = handle(ADDRESS, JAVA_INT, JAVA_INT, JAVA_LONG);
  private static final MethodHandle ONE = handle(ADDRESS);
  private static final MethodHandle TWO = handle(ADDRESS, ADDRESS);
  private static final MethodHandle TEXT = handle(ADDRESS, ADDRESS, JAVA_LONG);

  private final Path path;
  private final SymbolLookup symbols;
  private final Failures failures;
  private final String build;

  /** A context of a library: kernels until it is closed. */
  public static final class Context implements KernelSource, AutoCloseable {
    private final Library library;
    private final MemorySegment context;
    private final Kernels kernels;

    private Context(Library library, MemorySegment context) {
      this.library = library;
      this.context = context;
      this.kernels = new Linked(library, context);
    }

    @Override
    public Kernels kernels() {
      return kernels;
    }

    /** Closes the context: no kernel may be called any more. */
    @Override
    public void close() {
      library.closeContext(context);
    }
  }

  private Library(Path path, SymbolLookup symbols, Failures failures) {
    this.path = path;
    this.symbols = symbols;
    this.failures = failures;
    this.build = readBuild();
  }

  /**
   * Opens a library and checks that it has every function, in this version.
   *
   * @param failures makes the exceptions of its contexts
   * @throws IllegalArgumentException saying why, if this is not a library of ponder.h
   */
  @SuppressWarnings("restricted")
  public static Library open(Path path, Failures failures) {
    requireLibraryFile(path);
    SymbolLookup symbols;
    try {
      symbols = SymbolLookup.libraryLookup(path.toAbsolutePath(), Arena.global());
    } catch (IllegalArgumentException e) {
      throw new IllegalArgumentException(
          "the system cannot load it: it is damaged, made for another machine, or lacks a library"
              + " of its own",
          e);
    }
    if (symbols.find("pnd_abi_version").isEmpty()) {
      throw new IllegalArgumentException("it has no pnd_abi_version");
    }
    int version = version(symbols.find("pnd_abi_version").orElseThrow());
    if (version != ABI_VERSION) {
      throw new IllegalArgumentException(
          "its interface has version " + version + ", this jar needs " + ABI_VERSION);
    }
    try {
      Library library = new Library(path, symbols, failures);
      new Linked(library, MemorySegment.NULL);
      return library;
    } catch (UnsatisfiedLinkError e) {
      throw new IllegalArgumentException(e.getMessage(), e);
    }
  }

  /** Refuses what the system's loader would complain about on the standard error stream. */
  private static void requireLibraryFile(Path path) {
    byte[] start;
    try (InputStream in = Files.newInputStream(path)) {
      start = in.readNBytes(4);
    } catch (IOException e) {
      throw new IllegalArgumentException("it cannot be read: " + e, e);
    }
    boolean elf = Arrays.equals(start, new byte[] {0x7f, 'E', 'L', 'F'});
    if (!elf && System.getProperty("os.name").equals("Linux")) {
      throw new IllegalArgumentException("it is not a library");
    }
  }

  /** Returns the file. */
  public Path path() {
    return path;
  }

  /** Returns the library's name and build, such as {@code cpu v4}. */
  public String build() {
    return build;
  }

  /**
   * Opens a context.
   *
   * @param device which of the library's devices, from 0
   * @param threads how many threads compute, the caller included; 0 for one per processor
   * @param memoryLimit the most bytes it may hold; 0 for 80 % of what the process may use
   */
  public Context open(int device, int threads, long memoryLimit) {
    MemorySegment open = function("open");
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment cell = arena.allocate(ADDRESS);
      int status = (int) OPEN.invokeExact(open, cell, device, threads, memoryLimit);
      if (status != 0) {
        throw failure(status, MemorySegment.NULL);
      }
      return new Context(this, cell.get(ADDRESS, 0));
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  private void closeContext(MemorySegment context) {
    MemorySegment close = function("close");
    try {
      int status = (int) ONE.invokeExact(close, context);
      if (status != 0) {
        throw failure(status, MemorySegment.NULL);
      }
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  /** Returns the address of the function of a method of {@link Kernels}. */
  MemorySegment function(String method) {
    String symbol = "pnd_" + method.replaceAll("([A-Z])", "_$1").toLowerCase(Locale.ROOT);
    return symbols.find(symbol).orElseThrow(() -> new UnsatisfiedLinkError("it has no " + symbol));
  }

  /** Returns the exception for a status, carrying the library's sentence. */
  RuntimeException failure(int status, MemorySegment context) {
    String sentence = text(function("message"), context);
    return switch (status) {
      case 1 -> new IllegalArgumentException(sentence);
      case 2 -> failures.outOfMemory(sentence);
      case 3 -> new UnsupportedOperationException(sentence);
      case 4 -> failures.deviceFailed(sentence);
      default -> failures.deviceFailed("status " + status + ": " + sentence);
    };
  }

  private String readBuild() {
    return text(function("build"), MemorySegment.NULL);
  }

  private static String text(MemorySegment function, MemorySegment context) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment text = arena.allocate(TEXT_BYTES);
      int status = (int) TEXT.invokeExact(function, context, text, TEXT_BYTES);
      return status == 0 ? text.getString(0) : "the library gave no message";
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  private static int version(MemorySegment function) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment version = arena.allocate(JAVA_INT);
      int status = (int) TWO.invokeExact(function, MemorySegment.NULL, version);
      return status == 0 ? version.get(JAVA_INT, 0) : -1;
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  @SuppressWarnings("restricted")
  private static MethodHandle handle(MemoryLayout... parameters) {
    return Linker.nativeLinker().downcallHandle(FunctionDescriptor.of(JAVA_INT, parameters));
  }

  @Override
  public String toString() {
    return path.toString();
  }
}
