// SPDX-License-Identifier: Apache-2.0
package ponder;

/**
 * The work a device has done. {@link Op#apply}, the fused backward kernels and {@link Store#update}
 * add to it, and nothing else does. Read on the thread that uses the device.
 */
public final class Meter {
  private long flops;
  private long matrixFlops;
  private long bytes;

  Meter() {}

  void add(Work work) {
    flops += work.flops();
    matrixFlops += work.matrixFlops();
    bytes += work.bytes();
  }

  /** Returns all the work done since the device was opened. */
  public Work total() {
    return new Work(flops, matrixFlops, bytes);
  }

  /** Returns the work done since {@code start}, an earlier {@link #total}. */
  public Work since(Work start) {
    return total().minus(start);
  }
}
