// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.nio.file.Path;

/** The calls of {@link Loops}, through JNI. */
final class Twin {
  static {
    System.load(Path.of(Loops.path()).toAbsolutePath().toString());
  }

  private Twin() {}

  /** Calls the function of one pointer. */
  static native int one(long a);

  /** Calls the function of three pointers, two sizes and a scalar. */
  static native int six(long a, long b, long c, long rows, long cols, double scale);
}
