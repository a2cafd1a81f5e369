// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static java.lang.foreign.ValueLayout.ADDRESS;
import static java.lang.foreign.ValueLayout.JAVA_BYTE;
import static java.lang.foreign.ValueLayout.JAVA_DOUBLE;
import static java.lang.foreign.ValueLayout.JAVA_FLOAT;
import static java.lang.foreign.ValueLayout.JAVA_INT;
import static java.lang.foreign.ValueLayout.JAVA_LONG;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.FunctionDescriptor;
import java.lang.foreign.Linker;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.SymbolLookup;
import java.lang.foreign.ValueLayout;
import java.lang.invoke.MethodHandle;
import java.util.ArrayList;
import java.util.List;
import ponder.Work;
import ponder.cases.Array;
import ponder.cases.Call;
import ponder.cases.Cases;
import ponder.cases.Type;

/** A matrix product by OpenBLAS or oneDNN, where the system has them, on one thread. */
final class RivalProduct implements Subject {
  static final String OPENBLAS = "openblas";

  /** OpenBLAS with its kernels for AVX-512. Of processors newer than itself it knows only AVX2. */
  static final String OPENBLAS_WIDE = "openblas_skylakex";

  static final String ONEDNN = "onednn";

  private static final List<String> OPENBLAS_FILES = List.of("libopenblas.so.0", "libopenblas.so");
  private static final List<String> ONEDNN_FILES =
      List.of("libdnnl.so.3", "libdnnl.so.2", "libdnnl.so");
  private static final int ROW_MAJOR = 101;
  private static final int NO_TRANSPOSE = 111;

  private final Product product;
  private final Call call;
  private final Arena arena = Arena.ofConfined();
  private final MemorySegment a;
  private final MemorySegment b;
  private final MemorySegment y;
  private final MethodHandle gemm;
  private final boolean openblas;
  private final boolean single;

  RivalProduct(Row row, String rival) {
    call = Cases.of("matmul").call(row.type(), row.sizes());
    product = new Product(call);
    openblas = !rival.equals(ONEDNN);
    single = row.type() == Type.F32;
    a = memory(call.array("a"));
    b = memory(call.array("b"));
    y = memory(call.array("y"));
    if (rival.equals(OPENBLAS_WIDE)) takeWideKernels();
    SymbolLookup symbols = lookup(openblas ? OPENBLAS_FILES : ONEDNN_FILES, arena);
    if (symbols == null) throw new IllegalStateException("there is no " + rival + " here");
    if (rival.equals(OPENBLAS_WIDE)) requireWideKernels(symbols);
    gemm = openblas ? cblas(symbols) : dnnl(symbols);
  }

  /** Returns the rivals that this system has, for rows of a type. */
  static List<String> present(Type type) {
    List<String> present = new ArrayList<>();
    try (Arena arena = Arena.ofConfined()) {
      boolean real = type == Type.F32 || type == Type.F64;
      if (real && lookup(OPENBLAS_FILES, arena) != null) {
        present.add(OPENBLAS);
        if (Machine.here().features().contains("avx512f")) present.add(OPENBLAS_WIDE);
      }
      if (type == Type.F32 && lookup(ONEDNN_FILES, arena) != null) present.add(ONEDNN);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return present;
  }

  /** OpenBLAS chooses when it is opened, and asks the environment first. */
  private static void takeWideKernels() {
    Linker linker = Linker.nativeLinker();
    MethodHandle setenv =
        linker.downcallHandle(
            linker.defaultLookup().find("setenv").orElseThrow(),
            FunctionDescriptor.of(JAVA_INT, ADDRESS, ADDRESS, JAVA_INT));
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment name = arena.allocateFrom("OPENBLAS_CORETYPE");
      int status = (int) setenv.invokeExact(name, arena.allocateFrom("SKYLAKEX"), 1);
      if (status != 0) throw new IllegalStateException("setenv gave status " + status);
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
  }

  /** An OpenBLAS that was built for one kind of processor asks nobody. */
  private static void requireWideKernels(SymbolLookup symbols) {
    MethodHandle name =
        Linker.nativeLinker()
            .downcallHandle(
                symbols.find("openblas_get_corename").orElseThrow(),
                FunctionDescriptor.of(ADDRESS));
    String taken;
    try {
      taken = ((MemorySegment) name.invokeExact()).reinterpret(64).getString(0);
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
    if (!taken.equalsIgnoreCase("SkylakeX")) {
      throw new IllegalStateException("OpenBLAS took its kernels for " + taken);
    }
  }

  private static SymbolLookup lookup(List<String> files, Arena arena) {
    for (String file : files) {
      try {
        return SymbolLookup.libraryLookup(file, arena);
      } catch (IllegalArgumentException e) {
        continue;
      }
    }
    return null;
  }

  private MethodHandle cblas(SymbolLookup symbols) {
    ValueLayout real = single ? JAVA_FLOAT : JAVA_DOUBLE;
    return Linker.nativeLinker()
        .downcallHandle(
            symbols.find(single ? "cblas_sgemm" : "cblas_dgemm").orElseThrow(),
            FunctionDescriptor.ofVoid(
                JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, JAVA_INT, real, ADDRESS, JAVA_INT,
                ADDRESS, JAVA_INT, real, ADDRESS, JAVA_INT));
  }

  private static MethodHandle dnnl(SymbolLookup symbols) {
    return Linker.nativeLinker()
        .downcallHandle(
            symbols.find("dnnl_sgemm").orElseThrow(),
            FunctionDescriptor.of(
                JAVA_INT,
                JAVA_BYTE,
                JAVA_BYTE,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_LONG,
                JAVA_FLOAT,
                ADDRESS,
                JAVA_LONG,
                ADDRESS,
                JAVA_LONG,
                JAVA_FLOAT,
                ADDRESS,
                JAVA_LONG));
  }

  private MemorySegment memory(Array array) {
    MemorySegment memory = arena.allocate(array.content().length, 64);
    return memory.copyFrom(MemorySegment.ofArray(array.content()));
  }

  @Override
  public Object run() {
    int lda = product.aTransposed() ? product.rows() : product.inner();
    int ldb = product.bTransposed() ? product.inner() : product.cols();
    try {
      if (openblas) {
        cblas(lda, ldb);
      } else {
        int status =
            (int)
                gemm.invokeExact(
                    (byte) (product.aTransposed() ? 'T' : 'N'),
                    (byte) (product.bTransposed() ? 'T' : 'N'),
                    (long) product.rows(),
                    (long) product.cols(),
                    (long) product.inner(),
                    1f,
                    a,
                    (long) lda,
                    b,
                    (long) ldb,
                    0f,
                    y,
                    (long) product.cols());
        if (status != 0) throw new IllegalStateException("oneDNN gave status " + status);
      }
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable t) {
      throw new IllegalStateException(t);
    }
    return y;
  }

  private void cblas(int lda, int ldb) throws Throwable {
    int ta = NO_TRANSPOSE + (product.aTransposed() ? 1 : 0);
    int tb = NO_TRANSPOSE + (product.bTransposed() ? 1 : 0);
    int m = product.rows();
    int n = product.cols();
    int k = product.inner();
    if (single) {
      gemm.invokeExact(ROW_MAJOR, ta, tb, m, n, k, 1f, a, lda, b, ldb, 0f, y, n);
    } else {
      gemm.invokeExact(ROW_MAJOR, ta, tb, m, n, k, 1.0, a, lda, b, ldb, 0.0, y, n);
    }
  }

  @Override
  public void check(int repeats) {
    run();
    double[] got = new double[product.rows() * product.cols()];
    for (int i = 0; i < got.length; i++) {
      got[i] = single ? y.getAtIndex(JAVA_FLOAT, i) : y.getAtIndex(JAVA_DOUBLE, i);
    }
    product.check(got);
  }

  @Override
  public Work work() {
    long flops = 2L * product.rows() * product.cols() * product.inner();
    return new Work(flops, flops, a.byteSize() + b.byteSize() + y.byteSize());
  }

  @Override
  public void close() {
    arena.close();
  }
}
