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

/**
 * One context of one library as {@link Kernels}. A method handle belongs to a list of parameter
 * types, not to a function: it is a constant that every library shares, and takes the function's
 * address as its first argument.
 *
 * <p>Each method checks that an array reaches the size that the header gives it before the library
 * is called, so that no wrong size can make it leave an array. Sizes below 1 and sizes that
 * overflow pass, for the library refuses them itself.
 */
final class Linked implements Kernels {
  private static final MethodHandle P = handle("P");
  private static final MethodHandle P3 = handle("PPP");
  private static final MethodHandle PL = handle("PL");
  private static final MethodHandle P2L = handle("PPL");
  private static final MethodHandle NONE = handle("");
  private static final MethodHandle IPLD = handle("IPLD");
  private static final MethodHandle IP2LI = handle("IPPLI");
  private static final MethodHandle IP2LD2 = handle("IPPLDD");
  private static final MethodHandle IP2LD = handle("IPPLD");
  private static final MethodHandle IP2L = handle("IPPL");
  private static final MethodHandle IP3L3 = handle("IPPPLLL");
  private static final MethodHandle IP2L3 = handle("IPPLLL");
  private static final MethodHandle IP2L5 = handle("IPPLLLLL");
  private static final MethodHandle IP3L4 = handle("IPPPLLLL");
  private static final MethodHandle IP2L2 = handle("IPPLL");
  private static final MethodHandle P2L4 = handle("PPLLLL");
  private static final MethodHandle IP3L4I2 = handle("IPPPLLLLII");
  private static final MethodHandle IP3L2 = handle("IPPPLL");
  private static final MethodHandle IP6L2D = handle("IPPPPPPLLD");
  private static final MethodHandle IP8L2 = handle("IPPPPPPPPLL");
  private static final MethodHandle IP4L2D = handle("IPPPPLLD");
  private static final MethodHandle IP6L2 = handle("IPPPPPPLL");
  private static final MethodHandle IP3L = handle("IPPPL");
  private static final MethodHandle IP2L5D = handle("IPPLLLLLD");
  private static final MethodHandle IP5L3 = handle("IPPPPPLLL");
  private static final MethodHandle IP7L3 = handle("IPPPPPPPLLL");
  private static final MethodHandle IP9L11DI2 = handle("IPPPPPPPPPLLLLLLLLLLLDII");
  private static final MethodHandle IP14L11DI2 = handle("IPPPPPPPPPPPPPPLLLLLLLLLLLDII");
  private static final MethodHandle IP19L11D2 = handle("IPPPPPPPPPPPPPPPPPPPLLLLLLLLLLLDD");
  private static final MethodHandle IP34L11D2 =
      handle("IPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPPLLLLLLLLLLLDD");
  private static final MethodHandle IP8L3 = handle("IPPPPPPPPLLL");
  private static final MethodHandle IP10L3 = handle("IPPPPPPPPPPLLL");
  private static final MethodHandle IP11L3 = handle("IPPPPPPPPPPPLLL");
  private static final MethodHandle IP15L3 = handle("IPPPPPPPPPPPPPPPLLL");
  private static final MethodHandle IP12L7DI2 = handle("IPPPPPPPPPPPPLLLLLLLDII");
  private static final MethodHandle IP20L6DI2 = handle("IPPPPPPPPPPPPPPPPPPPPLLLLLLDII");
  private static final MethodHandle IP9L7D4I = handle("IPPPPPPPPPLLLLLLLDDDDI");
  private static final MethodHandle IP6L5D2I = handle("IPPPPPPLLLLLDDI");
  private static final MethodHandle IP7LD4 = handle("IPPPPPPPLDDDD");
  private static final MethodHandle IP5LD2 = handle("IPPPPPLDD");
  private static final MethodHandle IP7L7D = handle("IPPPPPPPLLLLLLLD");
  private static final MethodHandle IP9L6D = handle("IPPPPPPPPPLLLLLLD");

  private final Library library;
  private final MemorySegment context;
  private final MemorySegment threads;
  private final MemorySegment memory;
  private final MemorySegment allocate;
  private final MemorySegment release;
  private final MemorySegment upload;
  private final MemorySegment download;
  private final MemorySegment copy;
  private final MemorySegment synchronize;
  private final MemorySegment stream;
  private final MemorySegment record;
  private final MemorySegment recorded;
  private final MemorySegment launch;
  private final MemorySegment releaseGraph;
  private final MemorySegment fill;
  private final MemorySegment cast;
  private final MemorySegment affine;
  private final MemorySegment power;
  private final MemorySegment exp;
  private final MemorySegment log;
  private final MemorySegment tanh;
  private final MemorySegment sigmoid;
  private final MemorySegment add;
  private final MemorySegment sub;
  private final MemorySegment mul;
  private final MemorySegment div;
  private final MemorySegment maximum;
  private final MemorySegment greater;
  private final MemorySegment sum;
  private final MemorySegment largest;
  private final MemorySegment broadcast;
  private final MemorySegment squareSum;
  private final MemorySegment swapAxes;
  private final MemorySegment slice;
  private final MemorySegment pad;
  private final MemorySegment put;
  private final MemorySegment concat;
  private final MemorySegment gather;
  private final MemorySegment scatterAdd;
  private final MemorySegment oneHot;
  private final MemorySegment philox;
  private final MemorySegment uniform;
  private final MemorySegment matmul;
  private final MemorySegment softmax;
  private final MemorySegment softmaxBackward;
  private final MemorySegment layerNorm;
  private final MemorySegment layerNormBackward;
  private final MemorySegment rmsNorm;
  private final MemorySegment rmsNormBackward;
  private final MemorySegment gelu;
  private final MemorySegment geluBackward;
  private final MemorySegment silu;
  private final MemorySegment siluBackward;
  private final MemorySegment rotary;
  private final MemorySegment rotaryBackward;
  private final MemorySegment crossEntropy;
  private final MemorySegment crossEntropyBackward;
  private final MemorySegment attention;
  private final MemorySegment attentionBackward;
  private final MemorySegment gru;
  private final MemorySegment gruBackward;
  private final MemorySegment lstm;
  private final MemorySegment lstmBackward;
  private final MemorySegment feedback;
  private final MemorySegment feedbackBackward;
  private final MemorySegment topKRead;
  private final MemorySegment topKReadBackward;
  private final MemorySegment fastWeights;
  private final MemorySegment fastWeightsBackward;
  private final MemorySegment mask;
  private final MemorySegment maskBackward;
  private final MemorySegment adamw;
  private final MemorySegment sgd;

  /**
   * Looks up every function.
   *
   * @throws UnsatisfiedLinkError if the library lacks one
   */
  Linked(Library library, MemorySegment context) {
    this.library = library;
    this.context = context;
    threads = library.function("threads");
    memory = library.function("memory");
    allocate = library.function("allocate");
    release = library.function("release");
    upload = library.function("upload");
    download = library.function("download");
    copy = library.function("copy");
    synchronize = library.function("synchronize");
    stream = library.function("stream");
    record = library.function("record");
    recorded = library.function("recorded");
    launch = library.function("launch");
    releaseGraph = library.function("releaseGraph");
    fill = library.function("fill");
    cast = library.function("cast");
    affine = library.function("affine");
    power = library.function("power");
    exp = library.function("exp");
    log = library.function("log");
    tanh = library.function("tanh");
    sigmoid = library.function("sigmoid");
    add = library.function("add");
    sub = library.function("sub");
    mul = library.function("mul");
    div = library.function("div");
    maximum = library.function("maximum");
    greater = library.function("greater");
    sum = library.function("sum");
    largest = library.function("largest");
    broadcast = library.function("broadcast");
    squareSum = library.function("squareSum");
    swapAxes = library.function("swapAxes");
    slice = library.function("slice");
    pad = library.function("pad");
    put = library.function("put");
    concat = library.function("concat");
    gather = library.function("gather");
    scatterAdd = library.function("scatterAdd");
    oneHot = library.function("oneHot");
    philox = library.function("philox");
    uniform = library.function("uniform");
    matmul = library.function("matmul");
    softmax = library.function("softmax");
    softmaxBackward = library.function("softmaxBackward");
    layerNorm = library.function("layerNorm");
    layerNormBackward = library.function("layerNormBackward");
    rmsNorm = library.function("rmsNorm");
    rmsNormBackward = library.function("rmsNormBackward");
    gelu = library.function("gelu");
    geluBackward = library.function("geluBackward");
    silu = library.function("silu");
    siluBackward = library.function("siluBackward");
    rotary = library.function("rotary");
    rotaryBackward = library.function("rotaryBackward");
    crossEntropy = library.function("crossEntropy");
    crossEntropyBackward = library.function("crossEntropyBackward");
    attention = library.function("attention");
    attentionBackward = library.function("attentionBackward");
    gru = library.function("gru");
    gruBackward = library.function("gruBackward");
    lstm = library.function("lstm");
    lstmBackward = library.function("lstmBackward");
    feedback = library.function("feedback");
    feedbackBackward = library.function("feedbackBackward");
    topKRead = library.function("topKRead");
    topKReadBackward = library.function("topKReadBackward");
    fastWeights = library.function("fastWeights");
    fastWeightsBackward = library.function("fastWeightsBackward");
    mask = library.function("mask");
    maskBackward = library.function("maskBackward");
    adamw = library.function("adamw");
    sgd = library.function("sgd");
  }

  /**
   * Returns the handle for a list of parameters after the context: I for int32_t, L for int64_t, D
   * for double, P for a pointer.
   */
  @SuppressWarnings("restricted")
  private static MethodHandle handle(String parameters) {
    MemoryLayout[] layouts = new MemoryLayout[parameters.length() + 1];
    layouts[0] = ADDRESS;
    for (int i = 1; i < layouts.length; i++) {
      layouts[i] =
          switch (parameters.charAt(i - 1)) {
            case 'I' -> JAVA_INT;
            case 'L' -> JAVA_LONG;
            case 'D' -> JAVA_DOUBLE;
            default -> ADDRESS;
          };
    }
    return Linker.nativeLinker().downcallHandle(FunctionDescriptor.of(JAVA_INT, layouts));
  }

  /** Returns the size of an element; 0 for a type the library will refuse. */
  private static long bytes(int dtype) {
    return dtype == 1 ? 8 : dtype == 0 || dtype == 2 ? 4 : dtype == 3 ? 2 : 0;
  }

  /** Returns the size of what is computed from a type and not rounded to it. */
  private static long sumBytes(int dtype) {
    return dtype == 3 ? 4 : bytes(dtype);
  }

  /** Returns the product of two sizes; 0 if one is below 1 or the product overflows. */
  private static long times(long a, long b) {
    return a <= 0 || b <= 0 || Math.multiplyHigh(a, b) != 0 || a * b < 0 ? 0 : a * b;
  }

  private static void reach(long bytes, MemorySegment a) {
    if (a.byteSize() < bytes && a.address() != 0) {
      throw new IllegalArgumentException(
          "an array has " + a.byteSize() + " bytes, the sizes ask for " + bytes);
    }
  }

  private static void reach(long bytes, MemorySegment a, MemorySegment b) {
    reach(bytes, a);
    reach(bytes, b);
  }

  private static void reach(long bytes, MemorySegment a, MemorySegment b, MemorySegment c) {
    reach(bytes, a, b);
    reach(bytes, c);
  }

  private static void reach(
      long bytes, MemorySegment a, MemorySegment b, MemorySegment c, MemorySegment d) {
    reach(bytes, a, b);
    reach(bytes, c, d);
  }

  private void check(int status) {
    if (status != 0) {
      throw library.failure(status, context);
    }
  }

  private static RuntimeException unexpected(Throwable t) {
    if (t instanceof RuntimeException e) {
      return e;
    }
    if (t instanceof Error e) {
      throw e;
    }
    return new IllegalStateException(t);
  }

  private void call(MemorySegment function, MemorySegment p0) {
    try {
      check((int) P.invokeExact(function, context, p0));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(MemorySegment function, MemorySegment p0, MemorySegment p1, MemorySegment p2) {
    try {
      check((int) P3.invokeExact(function, context, p0, p1, p2));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(MemorySegment function, MemorySegment p0, long n1) {
    try {
      check((int) PL.invokeExact(function, context, p0, n1));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(MemorySegment function, MemorySegment p0, MemorySegment p1, long n2) {
    try {
      check((int) P2L.invokeExact(function, context, p0, p1, n2));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      long n8,
      long n9,
      long n10,
      long n11,
      long n12,
      long n13,
      long n14,
      double d15) {
    try {
      check(
          (int)
              IP7L7D.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, n8, n9, n10, n11, n12, n13,
                  n14, d15));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      long n10,
      long n11,
      long n12,
      long n13,
      long n14,
      long n15,
      double d16) {
    try {
      check(
          (int)
              IP9L6D.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, n10, n11, n12, n13,
                  n14, n15, d16));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(MemorySegment function) {
    try {
      check((int) NONE.invokeExact(function, context));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(MemorySegment function, int i0, MemorySegment p1, long n2, double d3) {
    try {
      check((int) IPLD.invokeExact(function, context, i0, p1, n2, d3));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function, int i0, MemorySegment p1, MemorySegment p2, long n3, int i4) {
    try {
      check((int) IP2LI.invokeExact(function, context, i0, p1, p2, n3, i4));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      long n3,
      double d4,
      double d5) {
    try {
      check((int) IP2LD2.invokeExact(function, context, i0, p1, p2, n3, d4, d5));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function, int i0, MemorySegment p1, MemorySegment p2, long n3, double d4) {
    try {
      check((int) IP2LD.invokeExact(function, context, i0, p1, p2, n3, d4));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(MemorySegment function, int i0, MemorySegment p1, MemorySegment p2, long n3) {
    try {
      check((int) IP2L.invokeExact(function, context, i0, p1, p2, n3));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
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

  private void call(
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

  private void call(
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

  private void call(
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

  private void call(
      MemorySegment function, int i0, MemorySegment p1, MemorySegment p2, long n3, long n4) {
    try {
      check((int) IP2L2.invokeExact(function, context, i0, p1, p2, n3, n4));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      MemorySegment p0,
      MemorySegment p1,
      long n2,
      long n3,
      long n4,
      long n5) {
    try {
      check((int) P2L4.invokeExact(function, context, p0, p1, n2, n3, n4, n5));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      long n4,
      long n5,
      long n6,
      long n7,
      int i8,
      int i9) {
    try {
      check((int) IP3L4I2.invokeExact(function, context, i0, p1, p2, p3, n4, n5, n6, n7, i8, i9));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      long n4,
      long n5) {
    try {
      check((int) IP3L2.invokeExact(function, context, i0, p1, p2, p3, n4, n5));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      long n7,
      long n8,
      double d9) {
    try {
      check((int) IP6L2D.invokeExact(function, context, i0, p1, p2, p3, p4, p5, p6, n7, n8, d9));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      long n9,
      long n10) {
    try {
      check(
          (int) IP8L2.invokeExact(function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, n9, n10));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      long n5,
      long n6,
      double d7) {
    try {
      check((int) IP4L2D.invokeExact(function, context, i0, p1, p2, p3, p4, n5, n6, d7));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      long n7,
      long n8) {
    try {
      check((int) IP6L2.invokeExact(function, context, i0, p1, p2, p3, p4, p5, p6, n7, n8));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
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

  private void call(
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

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      long n6,
      long n7,
      long n8) {
    try {
      check((int) IP5L3.invokeExact(function, context, i0, p1, p2, p3, p4, p5, n6, n7, n8));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      long n8,
      long n9,
      long n10) {
    try {
      check(
          (int) IP7L3.invokeExact(function, context, i0, p1, p2, p3, p4, p5, p6, p7, n8, n9, n10));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      long n10,
      long n11,
      long n12,
      long n13,
      long n14,
      long n15,
      long n16,
      long n17,
      long n18,
      long n19,
      long n20,
      double d21,
      int i22,
      int i23) {
    try {
      check(
          (int)
              IP9L11DI2.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, n10, n11, n12, n13,
                  n14, n15, n16, n17, n18, n19, n20, d21, i22, i23));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      MemorySegment p10,
      MemorySegment p11,
      MemorySegment p12,
      MemorySegment p13,
      MemorySegment p14,
      long n15,
      long n16,
      long n17,
      long n18,
      long n19,
      long n20,
      long n21,
      long n22,
      long n23,
      long n24,
      long n25,
      double d26,
      int i27,
      int i28) {
    try {
      check(
          (int)
              IP14L11DI2.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13,
                  p14, n15, n16, n17, n18, n19, n20, n21, n22, n23, n24, n25, d26, i27, i28));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      MemorySegment p10,
      MemorySegment p11,
      MemorySegment p12,
      MemorySegment p13,
      MemorySegment p14,
      MemorySegment p15,
      MemorySegment p16,
      MemorySegment p17,
      MemorySegment p18,
      MemorySegment p19,
      long n20,
      long n21,
      long n22,
      long n23,
      long n24,
      long n25,
      long n26,
      long n27,
      long n28,
      long n29,
      long n30,
      double d31,
      double d32) {
    try {
      check(
          (int)
              IP19L11D2.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13,
                  p14, p15, p16, p17, p18, p19, n20, n21, n22, n23, n24, n25, n26, n27, n28, n29,
                  n30, d31, d32));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      MemorySegment p10,
      MemorySegment p11,
      MemorySegment p12,
      MemorySegment p13,
      MemorySegment p14,
      MemorySegment p15,
      MemorySegment p16,
      MemorySegment p17,
      MemorySegment p18,
      MemorySegment p19,
      MemorySegment p20,
      MemorySegment p21,
      MemorySegment p22,
      MemorySegment p23,
      MemorySegment p24,
      MemorySegment p25,
      MemorySegment p26,
      MemorySegment p27,
      MemorySegment p28,
      MemorySegment p29,
      MemorySegment p30,
      MemorySegment p31,
      MemorySegment p32,
      MemorySegment p33,
      MemorySegment p34,
      long n35,
      long n36,
      long n37,
      long n38,
      long n39,
      long n40,
      long n41,
      long n42,
      long n43,
      long n44,
      long n45,
      double d46,
      double d47) {
    try {
      check(
          (int)
              IP34L11D2.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13,
                  p14, p15, p16, p17, p18, p19, p20, p21, p22, p23, p24, p25, p26, p27, p28, p29,
                  p30, p31, p32, p33, p34, n35, n36, n37, n38, n39, n40, n41, n42, n43, n44, n45,
                  d46, d47));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      long n9,
      long n10,
      long n11) {
    try {
      check(
          (int)
              IP8L3.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, n9, n10, n11));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      MemorySegment p10,
      long n11,
      long n12,
      long n13) {
    try {
      check(
          (int)
              IP10L3.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, n11, n12, n13));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      MemorySegment p10,
      MemorySegment p11,
      long n12,
      long n13,
      long n14) {
    try {
      check(
          (int)
              IP11L3.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, n12, n13,
                  n14));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      MemorySegment p10,
      MemorySegment p11,
      MemorySegment p12,
      MemorySegment p13,
      MemorySegment p14,
      MemorySegment p15,
      long n16,
      long n17,
      long n18) {
    try {
      check(
          (int)
              IP15L3.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13,
                  p14, p15, n16, n17, n18));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      MemorySegment p10,
      MemorySegment p11,
      MemorySegment p12,
      long l13,
      long l14,
      long l15,
      long l16,
      long l17,
      long l18,
      long l19,
      double d20,
      int i21,
      int i22) {
    try {
      check(
          (int)
              IP12L7DI2.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, l13,
                  l14, l15, l16, l17, l18, l19, d20, i21, i22));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      MemorySegment p10,
      MemorySegment p11,
      MemorySegment p12,
      MemorySegment p13,
      MemorySegment p14,
      MemorySegment p15,
      MemorySegment p16,
      MemorySegment p17,
      MemorySegment p18,
      MemorySegment p19,
      MemorySegment p20,
      long l21,
      long l22,
      long l23,
      long l24,
      long l25,
      long l26,
      double d27,
      int i28,
      int i29) {
    try {
      check(
          (int)
              IP20L6DI2.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, p10, p11, p12, p13,
                  p14, p15, p16, p17, p18, p19, p20, l21, l22, l23, l24, l25, l26, d27, i28, i29));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      long n8,
      double d9,
      double d10,
      double d11,
      double d12) {
    try {
      check(
          (int)
              IP7LD4.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, n8, d9, d10, d11, d12));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      long n6,
      double d7,
      double d8) {
    try {
      check((int) IP5LD2.invokeExact(function, context, i0, p1, p2, p3, p4, p5, n6, d7, d8));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      MemorySegment p7,
      MemorySegment p8,
      MemorySegment p9,
      long n10,
      long n11,
      long n12,
      long n13,
      long n14,
      long n15,
      long n16,
      double d17,
      double d18,
      double d19,
      double d20,
      int i21) {
    try {
      check(
          (int)
              IP9L7D4I.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, p7, p8, p9, n10, n11, n12, n13,
                  n14, n15, n16, d17, d18, d19, d20, i21));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  private void call(
      MemorySegment function,
      int i0,
      MemorySegment p1,
      MemorySegment p2,
      MemorySegment p3,
      MemorySegment p4,
      MemorySegment p5,
      MemorySegment p6,
      long n7,
      long n8,
      long n9,
      long n10,
      long n11,
      double d12,
      double d13,
      int i14) {
    try {
      check(
          (int)
              IP6L5D2I.invokeExact(
                  function, context, i0, p1, p2, p3, p4, p5, p6, n7, n8, n9, n10, n11, d12, d13,
                  i14));
    } catch (Throwable t) {
      throw unexpected(t);
    }
  }

  @Override
  public void threads(MemorySegment threads) {
    reach(4, threads);
    call(this.threads, threads);
  }

  @Override
  public void memory(MemorySegment used, MemorySegment peak, MemorySegment limit) {
    reach(8, used, peak, limit);
    call(memory, used, peak, limit);
  }

  @Override
  public void allocate(MemorySegment memory, long bytes) {
    reach(8, memory);
    call(allocate, memory, bytes);
  }

  @Override
  public void release(MemorySegment memory) {
    call(release, memory);
  }

  @Override
  public void upload(MemorySegment to, MemorySegment from, long bytes) {
    reach(bytes, to, from);
    call(upload, to, from, bytes);
  }

  @Override
  public void download(MemorySegment to, MemorySegment from, long bytes) {
    reach(bytes, to, from);
    call(download, to, from, bytes);
  }

  @Override
  public void copy(MemorySegment to, MemorySegment from, long bytes) {
    reach(bytes, to, from);
    call(copy, to, from, bytes);
  }

  @Override
  public void synchronize() {
    call(synchronize);
  }

  @Override
  public void stream(MemorySegment stream) {
    reach(8, stream);
    call(this.stream, stream);
  }

  @Override
  public void record() {
    call(record);
  }

  @Override
  public void recorded(MemorySegment graph) {
    reach(8, graph);
    call(recorded, graph);
  }

  @Override
  public void launch(MemorySegment graph) {
    call(launch, graph);
  }

  @Override
  public void releaseGraph(MemorySegment graph) {
    call(releaseGraph, graph);
  }

  @Override
  public void fill(int dtype, MemorySegment y, long n, double value) {
    reach(times(bytes(dtype), n), y);
    call(fill, dtype, y, n, value);
  }

  @Override
  public void cast(int dtype, MemorySegment y, MemorySegment x, long n, int from) {
    reach(times(bytes(dtype), n), y);
    reach(times(bytes(from), n), x);
    call(cast, dtype, y, x, n, from);
  }

  @Override
  public void affine(
      int dtype, MemorySegment y, MemorySegment x, long n, double scale, double shift) {
    reach(times(bytes(dtype), n), y, x);
    call(affine, dtype, y, x, n, scale, shift);
  }

  @Override
  public void power(int dtype, MemorySegment y, MemorySegment x, long n, double exponent) {
    reach(times(bytes(dtype), n), y, x);
    call(power, dtype, y, x, n, exponent);
  }

  @Override
  public void exp(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(exp, dtype, y, x, n);
  }

  @Override
  public void log(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(log, dtype, y, x, n);
  }

  @Override
  public void tanh(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(tanh, dtype, y, x, n);
  }

  @Override
  public void sigmoid(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(sigmoid, dtype, y, x, n);
  }

  @Override
  public void add(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(times(times(bytes(dtype), outer), mid), inner), y, a);
    reach(times(times(bytes(dtype), outer), inner), b);
    call(add, dtype, y, a, b, outer, mid, inner);
  }

  @Override
  public void sub(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(times(times(bytes(dtype), outer), mid), inner), y, a);
    reach(times(times(bytes(dtype), outer), inner), b);
    call(sub, dtype, y, a, b, outer, mid, inner);
  }

  @Override
  public void mul(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(times(times(bytes(dtype), outer), mid), inner), y, a);
    reach(times(times(bytes(dtype), outer), inner), b);
    call(mul, dtype, y, a, b, outer, mid, inner);
  }

  @Override
  public void div(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(times(times(bytes(dtype), outer), mid), inner), y, a);
    reach(times(times(bytes(dtype), outer), inner), b);
    call(div, dtype, y, a, b, outer, mid, inner);
  }

  @Override
  public void maximum(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(times(times(bytes(dtype), outer), mid), inner), y, a);
    reach(times(times(bytes(dtype), outer), inner), b);
    call(maximum, dtype, y, a, b, outer, mid, inner);
  }

  @Override
  public void greater(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner) {
    reach(times(times(times(bytes(dtype), outer), mid), inner), y, a);
    reach(times(times(bytes(dtype), outer), inner), b);
    call(greater, dtype, y, a, b, outer, mid, inner);
  }

  @Override
  public void sum(int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    reach(times(times(bytes(dtype), outer), inner), y);
    reach(times(times(times(bytes(dtype), outer), mid), inner), x);
    call(sum, dtype, y, x, outer, mid, inner);
  }

  @Override
  public void largest(
      int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    reach(times(times(bytes(dtype), outer), inner), y);
    reach(times(times(times(bytes(dtype), outer), mid), inner), x);
    call(largest, dtype, y, x, outer, mid, inner);
  }

  @Override
  public void broadcast(
      int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner) {
    reach(times(times(times(bytes(dtype), outer), mid), inner), y);
    reach(times(times(bytes(dtype), outer), inner), x);
    call(broadcast, dtype, y, x, outer, mid, inner);
  }

  @Override
  public void squareSum(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(bytes(dtype), y);
    reach(times(bytes(dtype), n), x);
    call(squareSum, dtype, y, x, n);
  }

  @Override
  public void swapAxes(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long first,
      long mid,
      long second,
      long inner) {
    reach(times(times(times(times(times(bytes(dtype), outer), first), mid), second), inner), y, x);
    call(swapAxes, dtype, y, x, outer, first, mid, second, inner);
  }

  @Override
  public void slice(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long size,
      long inner,
      long start,
      long count) {
    reach(times(times(times(bytes(dtype), outer), count), inner), y);
    reach(times(times(times(bytes(dtype), outer), size), inner), x);
    call(slice, dtype, y, x, outer, size, inner, start, count);
  }

  @Override
  public void pad(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long size,
      long inner,
      long start,
      long count) {
    reach(times(times(times(bytes(dtype), outer), size), inner), y);
    reach(times(times(times(bytes(dtype), outer), count), inner), x);
    call(pad, dtype, y, x, outer, size, inner, start, count);
  }

  @Override
  public void put(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      MemorySegment start,
      long outer,
      long size,
      long inner,
      long count) {
    reach(times(times(times(bytes(dtype), outer), size), inner), y);
    reach(times(times(times(bytes(dtype), outer), count), inner), x);
    reach(times(4, outer), start);
    call(put, dtype, y, x, start, outer, size, inner, count);
  }

  @Override
  public void concat(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long aSize,
      long bSize,
      long inner) {
    reach(times(times(times(bytes(dtype), outer), aSize), inner), a);
    reach(times(times(times(bytes(dtype), outer), bSize), inner), b);
    reach(times(times(times(bytes(dtype), outer), aSize + bSize), inner), y);
    call(concat, dtype, y, a, b, outer, aSize, bSize, inner);
  }

  @Override
  public void gather(
      int dtype,
      MemorySegment y,
      MemorySegment table,
      MemorySegment index,
      long count,
      long rows,
      long cols) {
    reach(times(times(bytes(dtype), count), cols), y);
    reach(times(times(bytes(dtype), rows), cols), table);
    reach(times(4, count), index);
    call(gather, dtype, y, table, index, count, rows, cols);
  }

  @Override
  public void scatterAdd(
      int dtype,
      MemorySegment table,
      MemorySegment x,
      MemorySegment index,
      long count,
      long rows,
      long cols) {
    reach(times(times(bytes(dtype), rows), cols), table);
    reach(times(times(bytes(dtype), count), cols), x);
    reach(times(4, count), index);
    call(scatterAdd, dtype, table, x, index, count, rows, cols);
  }

  @Override
  public void oneHot(int dtype, MemorySegment y, MemorySegment index, long count, long classes) {
    reach(times(times(bytes(dtype), count), classes), y);
    reach(times(4, count), index);
    call(oneHot, dtype, y, index, count, classes);
  }

  @Override
  public void philox(MemorySegment y, MemorySegment step, long n, long first, long row, long key) {
    reach(times(4, n), y);
    reach(8, step);
    call(philox, y, step, n, first, row, key);
  }

  @Override
  public void uniform(int dtype, MemorySegment y, MemorySegment step, long n, long row, long key) {
    reach(times(bytes(dtype), n), y);
    reach(8, step);
    call(uniform, dtype, y, step, n, row, key);
  }

  @Override
  public void matmul(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long batch,
      long rows,
      long cols,
      long inner,
      int aTransposed,
      int bTransposed) {
    reach(times(times(times(bytes(dtype), batch), rows), cols), y);
    reach(times(times(times(bytes(dtype), batch), rows), inner), a);
    reach(times(times(times(bytes(dtype), batch), inner), cols), b);
    call(matmul, dtype, y, a, b, batch, rows, cols, inner, aTransposed, bTransposed);
  }

  @Override
  public void softmax(int dtype, MemorySegment y, MemorySegment x, long rows, long cols) {
    reach(times(times(bytes(dtype), rows), cols), y, x);
    call(softmax, dtype, y, x, rows, cols);
  }

  @Override
  public void softmaxBackward(
      int dtype, MemorySegment dx, MemorySegment dy, MemorySegment y, long rows, long cols) {
    reach(times(times(bytes(dtype), rows), cols), dx, dy, y);
    call(softmaxBackward, dtype, dx, dy, y, rows, cols);
  }

  @Override
  public void layerNorm(
      int dtype,
      MemorySegment y,
      MemorySegment mean,
      MemorySegment rstd,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment bias,
      long rows,
      long cols,
      double eps) {
    reach(times(times(bytes(dtype), rows), cols), y, x);
    reach(times(bytes(dtype), cols), gain, bias);
    reach(times(bytes(dtype), rows), mean, rstd);
    call(layerNorm, dtype, y, mean, rstd, x, gain, bias, rows, cols, eps);
  }

  @Override
  public void layerNormBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      MemorySegment dbias,
      MemorySegment dy,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment mean,
      MemorySegment rstd,
      long rows,
      long cols) {
    reach(times(times(bytes(dtype), rows), cols), dx, dy, x);
    reach(times(bytes(dtype), cols), dgain, dbias, gain);
    reach(times(bytes(dtype), rows), mean, rstd);
    call(layerNormBackward, dtype, dx, dgain, dbias, dy, x, gain, mean, rstd, rows, cols);
  }

  @Override
  public void rmsNorm(
      int dtype,
      MemorySegment y,
      MemorySegment scale,
      MemorySegment x,
      MemorySegment gain,
      long rows,
      long cols,
      double eps) {
    reach(times(times(bytes(dtype), rows), cols), y, x);
    reach(times(bytes(dtype), cols), gain);
    reach(times(bytes(dtype), rows), scale);
    call(rmsNorm, dtype, y, scale, x, gain, rows, cols, eps);
  }

  @Override
  public void rmsNormBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      MemorySegment dy,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment scale,
      long rows,
      long cols) {
    reach(times(times(bytes(dtype), rows), cols), dx, dy, x);
    reach(times(bytes(dtype), cols), dgain, gain);
    reach(times(bytes(dtype), rows), scale);
    call(rmsNormBackward, dtype, dx, dgain, dy, x, gain, scale, rows, cols);
  }

  @Override
  public void gelu(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(gelu, dtype, y, x, n);
  }

  @Override
  public void geluBackward(int dtype, MemorySegment dx, MemorySegment dy, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), dx, dy, x);
    call(geluBackward, dtype, dx, dy, x, n);
  }

  @Override
  public void silu(int dtype, MemorySegment y, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), y, x);
    call(silu, dtype, y, x, n);
  }

  @Override
  public void siluBackward(int dtype, MemorySegment dx, MemorySegment dy, MemorySegment x, long n) {
    reach(times(bytes(dtype), n), dx, dy, x);
    call(siluBackward, dtype, dx, dy, x, n);
  }

  @Override
  public void rotary(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base) {
    reach(times(times(times(times(bytes(dtype), batch), steps), heads), headSize), y, x);
    call(rotary, dtype, y, x, batch, steps, heads, headSize, start, base);
  }

  @Override
  public void rotaryBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dy,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base) {
    reach(times(times(times(times(bytes(dtype), batch), steps), heads), headSize), dx, dy);
    call(rotaryBackward, dtype, dx, dy, batch, steps, heads, headSize, start, base);
  }

  @Override
  public void crossEntropy(
      int dtype,
      MemorySegment loss,
      MemorySegment lse,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment target,
      long rows,
      long classes,
      long width) {
    reach(times(times(bytes(dtype), rows), width), x);
    reach(times(times(bytes(dtype), classes), width), weight);
    reach(times(bytes(dtype), rows), loss, lse);
    reach(times(4, rows), target);
    call(crossEntropy, dtype, loss, lse, x, weight, target, rows, classes, width);
  }

  @Override
  public void crossEntropyBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dloss,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment target,
      MemorySegment lse,
      long rows,
      long classes,
      long width) {
    reach(times(times(bytes(dtype), rows), width), dx, x);
    reach(times(times(bytes(dtype), classes), width), dweight, weight);
    reach(times(bytes(dtype), rows), dloss, lse);
    reach(times(4, rows), target);
    call(
        crossEntropyBackward,
        dtype,
        dx,
        dweight,
        dloss,
        x,
        weight,
        target,
        lse,
        rows,
        classes,
        width);
  }

  @Override
  public void attention(
      int dtype,
      MemorySegment out,
      MemorySegment lse,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment qStarts,
      MemorySegment kStarts,
      long batch,
      long heads,
      long kvHeads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      long segments,
      long window,
      double scale,
      int causal,
      int gated) {
    reach(times(times(times(times(bytes(dtype), batch), qSteps), heads), headSize), out, q);
    reach(times(times(times(times(bytes(dtype), batch), kSteps), kvHeads), headSize), k, v);
    reach(times(times(times(sumBytes(dtype), batch), heads), qSteps), lse);
    reach(times(times(times(times(bytes(dtype), maskBatch), maskHeads), maskSteps), kSteps), mask);
    reach(times(4, batch), lengths);
    reach(times(4, segments + 1), qStarts, kStarts);
    call(
        attention, dtype, out, lse, q, k, v, mask, lengths, qStarts, kStarts, batch, heads, kvHeads,
        qSteps, kSteps, headSize, maskBatch, maskHeads, maskSteps, segments, window, scale, causal,
        gated);
  }

  @Override
  public void attentionBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment dmask,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment qStarts,
      MemorySegment kStarts,
      MemorySegment out,
      MemorySegment lse,
      long batch,
      long heads,
      long kvHeads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      long segments,
      long window,
      double scale,
      int causal,
      int gated) {
    reach(
        times(times(times(times(bytes(dtype), batch), qSteps), heads), headSize), dq, dout, q, out);
    reach(times(times(times(times(bytes(dtype), batch), kSteps), kvHeads), headSize), dk, dv, k, v);
    reach(times(times(times(sumBytes(dtype), batch), heads), qSteps), lse);
    reach(
        times(times(times(times(bytes(dtype), maskBatch), maskHeads), maskSteps), kSteps),
        dmask,
        mask);
    reach(times(4, batch), lengths);
    reach(times(4, segments + 1), qStarts, kStarts);
    call(
        attentionBackward,
        dtype,
        dq,
        dk,
        dv,
        dmask,
        dout,
        q,
        k,
        v,
        mask,
        lengths,
        qStarts,
        kStarts,
        out,
        lse,
        batch,
        heads,
        kvHeads,
        qSteps,
        kSteps,
        headSize,
        maskBatch,
        maskHeads,
        maskSteps,
        segments,
        window,
        scale,
        causal,
        gated);
  }

  @Override
  public void gru(
      int dtype,
      MemorySegment hidden,
      MemorySegment gates,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    reach(times(times(times(bytes(dtype), batch), steps), width), hidden);
    reach(times(times(times(times(bytes(dtype), batch), steps), 4), width), gates);
    reach(times(times(times(times(bytes(dtype), batch), steps), 3), width), x);
    reach(times(times(times(bytes(dtype), 3), width), width), weight);
    reach(times(times(sumBytes(dtype), 3), width), bias);
    reach(times(times(bytes(dtype), batch), width), initial);
    reach(times(times(4, batch), steps), resets);
    reach(times(4, batch), lengths);
    call(gru, dtype, hidden, gates, x, weight, bias, initial, resets, lengths, batch, steps, width);
  }

  @Override
  public void gruBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dbias,
      MemorySegment dinitial,
      MemorySegment dhidden,
      MemorySegment weight,
      MemorySegment initial,
      MemorySegment hidden,
      MemorySegment gates,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    reach(times(times(times(bytes(dtype), batch), steps), width), dhidden, hidden);
    reach(times(times(times(times(bytes(dtype), batch), steps), 4), width), gates);
    reach(times(times(times(times(bytes(dtype), batch), steps), 3), width), dx);
    reach(times(times(times(bytes(dtype), 3), width), width), dweight, weight);
    reach(times(times(sumBytes(dtype), 3), width), dbias);
    reach(times(times(bytes(dtype), batch), width), dinitial, initial);
    reach(times(times(4, batch), steps), resets);
    reach(times(4, batch), lengths);
    call(
        gruBackward,
        dtype,
        dx,
        dweight,
        dbias,
        dinitial,
        dhidden,
        weight,
        initial,
        hidden,
        gates,
        resets,
        lengths,
        batch,
        steps,
        width);
  }

  @Override
  public void lstm(
      int dtype,
      MemorySegment hidden,
      MemorySegment cells,
      MemorySegment gates,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment initialHidden,
      MemorySegment initialCell,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    reach(times(times(times(bytes(dtype), batch), steps), width), hidden);
    reach(times(times(times(sumBytes(dtype), batch), steps), width), cells);
    reach(times(times(times(times(bytes(dtype), batch), steps), 4), width), gates, x);
    reach(times(times(times(bytes(dtype), 4), width), width), weight);
    reach(times(times(sumBytes(dtype), 4), width), bias);
    reach(times(times(bytes(dtype), batch), width), initialHidden);
    reach(times(times(sumBytes(dtype), batch), width), initialCell);
    reach(times(times(4, batch), steps), resets);
    reach(times(4, batch), lengths);
    call(
        lstm,
        dtype,
        hidden,
        cells,
        gates,
        x,
        weight,
        bias,
        initialHidden,
        initialCell,
        resets,
        lengths,
        batch,
        steps,
        width);
  }

  @Override
  public void lstmBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dbias,
      MemorySegment dinitialHidden,
      MemorySegment dinitialCell,
      MemorySegment dhidden,
      MemorySegment dlastCell,
      MemorySegment weight,
      MemorySegment initialHidden,
      MemorySegment initialCell,
      MemorySegment hidden,
      MemorySegment cells,
      MemorySegment gates,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width) {
    reach(times(times(times(bytes(dtype), batch), steps), width), dhidden, hidden);
    reach(times(times(times(sumBytes(dtype), batch), steps), width), cells);
    reach(times(times(times(times(bytes(dtype), batch), steps), 4), width), dx, gates);
    reach(times(times(times(bytes(dtype), 4), width), width), dweight, weight);
    reach(times(times(sumBytes(dtype), 4), width), dbias);
    reach(times(times(bytes(dtype), batch), width), dinitialHidden, initialHidden);
    reach(times(times(sumBytes(dtype), batch), width), dinitialCell, dlastCell, initialCell);
    reach(times(times(4, batch), steps), resets);
    reach(times(4, batch), lengths);
    call(
        lstmBackward,
        dtype,
        dx,
        dweight,
        dbias,
        dinitialHidden,
        dinitialCell,
        dhidden,
        dlastCell,
        weight,
        initialHidden,
        initialCell,
        hidden,
        cells,
        gates,
        resets,
        lengths,
        batch,
        steps,
        width);
  }

  @Override
  public void feedback(
      int dtype,
      MemorySegment states,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment x,
      MemorySegment pastKeys,
      MemorySegment pastValues,
      MemorySegment attentionGain,
      MemorySegment query,
      MemorySegment mix,
      MemorySegment mlpGain,
      MemorySegment wide,
      MemorySegment narrow,
      MemorySegment share,
      MemorySegment memoryGain,
      MemorySegment key,
      MemorySegment value,
      MemorySegment first,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long layers,
      long width,
      long inner,
      long heads,
      long kvHeads,
      long headSize,
      long past,
      long room,
      long window,
      double eps,
      double base) {
    reach(times(times(times(times(bytes(dtype), batch), steps), layers + 1), width), states);
    reach(times(times(times(times(bytes(dtype), batch), steps), kvHeads), headSize), keys, values);
    reach(times(times(times(bytes(dtype), batch), steps), width), x);
    reach(
        times(times(times(times(bytes(dtype), batch), room), kvHeads), headSize),
        pastKeys,
        pastValues);
    reach(times(times(bytes(dtype), layers), width), attentionGain, mlpGain);
    reach(times(times(times(times(bytes(dtype), layers), width), heads), headSize), query);
    reach(times(times(times(times(bytes(dtype), layers), heads), headSize), width), mix);
    reach(times(times(times(bytes(dtype), layers), width), inner), wide);
    reach(times(times(times(bytes(dtype), layers), inner), width), narrow);
    reach(times(bytes(dtype), layers + 1), share);
    reach(times(bytes(dtype), width), memoryGain);
    reach(times(times(times(bytes(dtype), width), kvHeads), headSize), key, value);
    reach(times(4, batch), first, lengths);
    reach(times(times(4, batch), steps), resets);
    call(
        feedback,
        dtype,
        states,
        keys,
        values,
        x,
        pastKeys,
        pastValues,
        attentionGain,
        query,
        mix,
        mlpGain,
        wide,
        narrow,
        share,
        memoryGain,
        key,
        value,
        first,
        resets,
        lengths,
        batch,
        steps,
        layers,
        width,
        inner,
        heads,
        kvHeads,
        headSize,
        past,
        room,
        window,
        eps,
        base);
  }

  @Override
  public void feedbackBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dpastKeys,
      MemorySegment dpastValues,
      MemorySegment dattentionGain,
      MemorySegment dquery,
      MemorySegment dmix,
      MemorySegment dmlpGain,
      MemorySegment dwide,
      MemorySegment dnarrow,
      MemorySegment dshare,
      MemorySegment dmemoryGain,
      MemorySegment dkey,
      MemorySegment dvalue,
      MemorySegment dstates,
      MemorySegment dkeys,
      MemorySegment dvalues,
      MemorySegment states,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment pastKeys,
      MemorySegment pastValues,
      MemorySegment attentionGain,
      MemorySegment query,
      MemorySegment mix,
      MemorySegment mlpGain,
      MemorySegment wide,
      MemorySegment narrow,
      MemorySegment share,
      MemorySegment memoryGain,
      MemorySegment key,
      MemorySegment value,
      MemorySegment first,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long layers,
      long width,
      long inner,
      long heads,
      long kvHeads,
      long headSize,
      long past,
      long room,
      long window,
      double eps,
      double base) {
    reach(times(times(times(bytes(dtype), batch), steps), width), dx);
    reach(
        times(times(times(times(bytes(dtype), batch), room), kvHeads), headSize),
        dpastKeys,
        dpastValues,
        pastKeys,
        pastValues);
    reach(
        times(times(bytes(dtype), layers), width),
        dattentionGain,
        dmlpGain,
        attentionGain,
        mlpGain);
    reach(times(times(times(times(bytes(dtype), layers), width), heads), headSize), dquery, query);
    reach(times(times(times(times(bytes(dtype), layers), heads), headSize), width), dmix, mix);
    reach(times(times(times(bytes(dtype), layers), width), inner), dwide, wide);
    reach(times(times(times(bytes(dtype), layers), inner), width), dnarrow, narrow);
    reach(times(bytes(dtype), layers + 1), dshare, share);
    reach(times(bytes(dtype), width), dmemoryGain, memoryGain);
    reach(times(times(times(bytes(dtype), width), kvHeads), headSize), dkey, dvalue, key, value);
    reach(
        times(times(times(times(bytes(dtype), batch), steps), layers + 1), width), dstates, states);
    reach(
        times(times(times(times(bytes(dtype), batch), steps), kvHeads), headSize),
        dkeys,
        dvalues,
        keys,
        values);
    reach(times(4, batch), first, lengths);
    reach(times(times(4, batch), steps), resets);
    call(
        feedbackBackward,
        dtype,
        dx,
        dpastKeys,
        dpastValues,
        dattentionGain,
        dquery,
        dmix,
        dmlpGain,
        dwide,
        dnarrow,
        dshare,
        dmemoryGain,
        dkey,
        dvalue,
        dstates,
        dkeys,
        dvalues,
        states,
        keys,
        values,
        pastKeys,
        pastValues,
        attentionGain,
        query,
        mix,
        mlpGain,
        wide,
        narrow,
        share,
        memoryGain,
        key,
        value,
        first,
        resets,
        lengths,
        batch,
        steps,
        layers,
        width,
        inner,
        heads,
        kvHeads,
        headSize,
        past,
        room,
        window,
        eps,
        base);
  }

  @Override
  public void topKRead(
      int dtype,
      MemorySegment out,
      MemorySegment p,
      MemorySegment index,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment lengths,
      long batch,
      long queries,
      long slots,
      long keySize,
      long valueSize,
      long count,
      long start,
      double scale) {
    long rows = times(batch, queries);
    reach(times(times(bytes(dtype), rows), valueSize), out);
    reach(times(times(bytes(dtype), rows), count), p);
    reach(times(times(4, rows), count), index);
    reach(times(times(bytes(dtype), rows), keySize), q);
    reach(times(times(times(bytes(dtype), batch), slots), keySize), keys);
    reach(times(times(times(bytes(dtype), batch), slots), valueSize), values);
    reach(times(4, rows), lengths);
    call(
        topKRead, dtype, out, p, index, q, keys, values, lengths, batch, queries, slots, keySize,
        valueSize, count, start, scale);
  }

  @Override
  public void topKReadBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dkeys,
      MemorySegment dvalues,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment p,
      MemorySegment index,
      long batch,
      long queries,
      long slots,
      long keySize,
      long valueSize,
      long count,
      double scale) {
    long rows = times(batch, queries);
    reach(times(times(bytes(dtype), rows), keySize), dq, q);
    reach(times(times(times(bytes(dtype), batch), slots), keySize), dkeys, keys);
    reach(times(times(times(bytes(dtype), batch), slots), valueSize), dvalues, values);
    reach(times(times(bytes(dtype), rows), valueSize), dout);
    reach(times(times(bytes(dtype), rows), count), p);
    reach(times(times(4, rows), count), index);
    call(
        topKReadBackward,
        dtype,
        dq,
        dkeys,
        dvalues,
        dout,
        q,
        keys,
        values,
        p,
        index,
        batch,
        queries,
        slots,
        keySize,
        valueSize,
        count,
        scale);
  }

  @Override
  public void fastWeights(
      int dtype,
      MemorySegment out,
      MemorySegment last,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment erase,
      MemorySegment write,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long heads,
      long steps,
      long keys,
      long values,
      long decaySize,
      long chunk,
      double scale,
      int features,
      int normalised) {
    reach(times(times(times(times(bytes(dtype), batch), steps), heads), keys), q, k);
    reach(times(times(times(times(bytes(dtype), batch), steps), heads), values), out, v);
    reach(times(times(times(times(sumBytes(dtype), batch), steps), heads), keys), erase, write);
    reach(times(times(times(times(sumBytes(dtype), batch), steps), heads), decaySize), decay);
    reach(times(times(times(sumBytes(dtype), batch), steps), heads), rate);
    reach(
        times(times(times(times(sumBytes(dtype), batch), heads), keys), values + normalised),
        last,
        initial);
    reach(times(times(4, batch), steps), resets);
    reach(times(4, batch), lengths);
    call(
        fastWeights,
        dtype,
        out,
        last,
        q,
        k,
        v,
        decay,
        rate,
        erase,
        write,
        initial,
        resets,
        lengths,
        batch,
        heads,
        steps,
        keys,
        values,
        decaySize,
        chunk,
        scale,
        features,
        normalised);
  }

  @Override
  public void fastWeightsBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment ddecay,
      MemorySegment drate,
      MemorySegment derase,
      MemorySegment dwrite,
      MemorySegment dinitial,
      MemorySegment dout,
      MemorySegment dlast,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment erase,
      MemorySegment write,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long heads,
      long steps,
      long keys,
      long values,
      long decaySize,
      double scale,
      int features,
      int normalised) {
    reach(times(times(times(times(bytes(dtype), batch), steps), heads), keys), dq, dk, q, k);
    reach(times(times(times(times(bytes(dtype), batch), steps), heads), values), dv, dout, v);
    reach(
        times(times(times(times(sumBytes(dtype), batch), steps), heads), keys),
        derase,
        dwrite,
        erase,
        write);
    reach(
        times(times(times(times(sumBytes(dtype), batch), steps), heads), decaySize), ddecay, decay);
    reach(times(times(times(sumBytes(dtype), batch), steps), heads), drate, rate);
    reach(
        times(times(times(times(sumBytes(dtype), batch), heads), keys), values + normalised),
        dinitial,
        dlast,
        initial);
    reach(times(times(4, batch), steps), resets);
    reach(times(4, batch), lengths);
    call(
        fastWeightsBackward,
        dtype,
        dq,
        dk,
        dv,
        ddecay,
        drate,
        derase,
        dwrite,
        dinitial,
        dout,
        dlast,
        q,
        k,
        v,
        decay,
        rate,
        erase,
        write,
        initial,
        resets,
        lengths,
        batch,
        heads,
        steps,
        keys,
        values,
        decaySize,
        scale,
        features,
        normalised);
  }

  @Override
  public void mask(
      int dtype,
      MemorySegment logProbability,
      MemorySegment inclusion,
      MemorySegment weight,
      MemorySegment corrupted,
      MemorySegment label,
      MemorySegment logits,
      MemorySegment tokens,
      MemorySegment eligible,
      MemorySegment step,
      long rows,
      long length,
      long vocabulary,
      long k,
      long candidates,
      long maskToken,
      long key,
      double rate,
      double floor,
      double maskShare,
      double randomShare,
      int scheme) {
    reach(times(bytes(dtype), rows), logProbability);
    reach(times(times(bytes(dtype), rows), length), inclusion, weight, logits);
    reach(times(times(4, rows), length), corrupted, label, tokens, eligible);
    reach(8, step);
    call(
        mask,
        dtype,
        logProbability,
        inclusion,
        weight,
        corrupted,
        label,
        logits,
        tokens,
        eligible,
        step,
        rows,
        length,
        vocabulary,
        k,
        candidates,
        maskToken,
        key,
        rate,
        floor,
        maskShare,
        randomShare,
        scheme);
  }

  @Override
  public void maskBackward(
      int dtype,
      MemorySegment dlogits,
      MemorySegment dlogProbability,
      MemorySegment logits,
      MemorySegment inclusion,
      MemorySegment label,
      MemorySegment step,
      long rows,
      long length,
      long k,
      long candidates,
      long key,
      double rate,
      double floor,
      int scheme) {
    reach(times(bytes(dtype), rows), dlogProbability);
    reach(times(times(bytes(dtype), rows), length), dlogits, logits, inclusion);
    reach(times(times(4, rows), length), label);
    reach(8, step);
    call(
        maskBackward,
        dtype,
        dlogits,
        dlogProbability,
        logits,
        inclusion,
        label,
        step,
        rows,
        length,
        k,
        candidates,
        key,
        rate,
        floor,
        scheme);
  }

  @Override
  public void adamw(
      int dtype,
      MemorySegment parameter,
      MemorySegment first,
      MemorySegment second,
      MemorySegment gradient,
      MemorySegment rate,
      MemorySegment step,
      MemorySegment scale,
      long n,
      double beta1,
      double beta2,
      double eps,
      double decay) {
    reach(times(bytes(dtype), n), parameter, first, second, gradient);
    reach(bytes(dtype), rate, scale);
    reach(4, step);
    call(
        adamw, dtype, parameter, first, second, gradient, rate, step, scale, n, beta1, beta2, eps,
        decay);
  }

  @Override
  public void sgd(
      int dtype,
      MemorySegment parameter,
      MemorySegment velocity,
      MemorySegment gradient,
      MemorySegment rate,
      MemorySegment scale,
      long n,
      double momentum,
      double decay) {
    reach(times(bytes(dtype), n), parameter, velocity, gradient);
    reach(bytes(dtype), rate, scale);
    call(sgd, dtype, parameter, velocity, gradient, rate, scale, n, momentum, decay);
  }
}
