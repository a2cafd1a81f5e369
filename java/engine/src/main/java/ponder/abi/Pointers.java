// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** Gives memory that a library allocated its true size and its owner. */
public final class Pointers {
  private Pointers() {}

  /**
   * Returns the memory at an address as a segment that closes with the arena.
   *
   * @param address what {@link Kernels#allocate} gave
   * @param bytes the size asked for there
   */
  @SuppressWarnings("restricted")
  public static MemorySegment view(long address, long bytes, Arena arena) {
    return MemorySegment.ofAddress(address).reinterpret(bytes, arena, null);
  }
}
