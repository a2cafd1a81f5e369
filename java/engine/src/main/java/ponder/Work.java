// SPDX-License-Identifier: Apache-2.0
package ponder;

/**
 * What a computation costs. Additions, multiplications, comparisons, divisions, square roots and
 * elementary functions count 1, a fused multiply-add 2; every input is read once and every output
 * written once. Work is what the algorithm performs, recomputation included.
 *
 * @param flops floating-point operations
 * @param matrixFlops the part of them in matrix products, for comparison with published figures
 * @param bytes bytes moved between memory and the processor
 */
public record Work(long flops, long matrixFlops, long bytes) {
  /** No work. */
  public static final Work NONE = new Work(0, 0, 0);

  /** Returns the work of this and then the other. */
  public Work plus(Work other) {
    return new Work(flops + other.flops, matrixFlops + other.matrixFlops, bytes + other.bytes);
  }

  /** Returns this work without the other: what was done since {@code other} was read. */
  public Work minus(Work other) {
    return new Work(flops - other.flops, matrixFlops - other.matrixFlops, bytes - other.bytes);
  }

  /** Returns this work done a number of times. */
  public Work times(long count) {
    return new Work(flops * count, matrixFlops * count, bytes * count);
  }

  /**
   * Returns the work of a function without matrix products that reads and writes whole tensors.
   *
   * @param tensors its inputs and outputs
   */
  public static Work of(long flops, Tensor... tensors) {
    long bytes = 0;
    for (Tensor t : tensors) {
      bytes += t.bytes();
    }
    return new Work(flops, 0, bytes);
  }
}
