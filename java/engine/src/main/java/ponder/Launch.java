// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.MemorySegment;

/**
 * What an op may use while it runs: memory for its outputs, the memory of its inputs, and which
 * derivatives are wanted. It is valid during the call only.
 */
public sealed interface Launch permits Stage {
  /**
   * Returns a new tensor in the innermost open scope, its content undefined.
   *
   * @throws DeviceOutOfMemoryException if the device's limit leaves no room for it
   */
  Tensor output(DType type, Shape shape);

  /**
   * Returns the memory of a tensor: its elements, row-major and contiguous, in the machine's byte
   * order, closed with the tensor's scope. Write to nothing but outputs of this launch.
   */
  MemorySegment memory(Tensor t);

  /** Returns whether the derivative by this input is wanted; true outside of a backward call. */
  boolean needs(int input);
}
