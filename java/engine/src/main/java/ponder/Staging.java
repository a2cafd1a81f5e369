// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * The buffer of this machine's memory that a device's data pass through. For a CUDA device it is
 * pinned where JCuda is there to do it, which spares the driver a copy.
 */
final class Staging {
  static final long BYTES = 256L << 10;

  final MemorySegment memory;

  private final CudaContext context;
  private final CudaContext.Pinned pinned;

  /**
   * Makes a buffer.
   *
   * @param arena closed after the buffer
   * @param cudaIndex the CUDA device's number, below 0 for a device of another kind
   */
  Staging(Arena arena, int cudaIndex) {
    CudaContext made = null;
    CudaContext.Pinned got = null;
    if (cudaIndex >= 0) {
      try {
        made = new CudaContext(cudaIndex);
        got = made.pin(BYTES);
      } catch (LinkageError | IllegalStateException e) {
        // Pageable memory does, too.
      }
    }
    context = made;
    pinned = got;
    memory = got == null ? arena.allocate(BYTES, 64) : got.memory();
  }

  /** Gives pinned memory back. */
  void close() {
    if (context == null) {
      return;
    }
    try {
      if (pinned != null) {
        context.unpin(pinned);
      }
    } catch (IllegalStateException e) {
      // A failed device takes nothing back; its process does.
    } finally {
      context.close();
    }
  }
}
