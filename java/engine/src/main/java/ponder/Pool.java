// SPDX-License-Identifier: Apache-2.0
package ponder;

import static java.lang.foreign.ValueLayout.ADDRESS;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.List;
import ponder.abi.Kernels;

/**
 * The blocks of a device's memory that no scope or store uses at present. A block's size is one of
 * four per power of two, and a request is served by a block of exactly its class: so the second of
 * two steps that ask for the same sizes finds every block that the first gave back, and allocates
 * nothing.
 */
final class Pool {
  private static final int SMALLEST_LOG = 16;

  /** One piece of device memory. */
  record Block(long address, int kind) {
    long bytes() {
      return Pool.bytes(kind);
    }
  }

  private final Kernels kernels;
  private final MemorySegment cell;
  private final Pool source;
  private final List<ArrayDeque<Block>> free = new ArrayList<>();
  private long allocations;

  Pool(Kernels kernels, Arena arena) {
    this.kernels = kernels;
    this.cell = arena.allocate(ADDRESS);
    this.source = null;
  }

  /** Makes a pool that takes its blocks from another one and keeps them until it is drained. */
  Pool(Pool source) {
    this.kernels = null;
    this.cell = null;
    this.source = source;
  }

  /** Returns the class of the smallest block that holds so many bytes. */
  static int kind(long bytes) {
    long wanted = Math.max(bytes, 1L << SMALLEST_LOG);
    int log = 63 - Long.numberOfLeadingZeros(wanted);
    long quarter = 1L << (log - 2);
    int quarters = (int) ((wanted - (1L << log) + quarter - 1) / quarter);
    return (log - SMALLEST_LOG) * 4 + quarters;
  }

  static long bytes(int kind) {
    return (4L + kind % 4) << (kind / 4 + SMALLEST_LOG - 2);
  }

  /** Returns a block of this class: a free one, or a new one. */
  synchronized Block take(int kind) {
    Block block = kind < free.size() ? free.get(kind).pollLast() : null;
    return block != null ? block : allocate(kind);
  }

  private Block allocate(int kind) {
    if (source != null) {
      return source.take(kind);
    }
    try {
      kernels.allocate(cell, bytes(kind));
    } catch (DeviceOutOfMemoryException full) {
      // Free blocks of other classes may be what fills the device.
      if (releaseFree() == 0) {
        throw full;
      }
      kernels.allocate(cell, bytes(kind));
    }
    allocations++;
    return new Block(cell.get(ADDRESS, 0).address(), kind);
  }

  /** Takes a block back. */
  synchronized void give(Block block) {
    while (free.size() <= block.kind()) {
      free.add(new ArrayDeque<>());
    }
    free.get(block.kind()).addLast(block);
  }

  /** Releases every free block and returns how many there were. */
  synchronized int releaseFree() {
    int released = 0;
    for (ArrayDeque<Block> blocks : free) {
      for (Block block = blocks.pollLast(); block != null; block = blocks.pollLast()) {
        kernels.release(MemorySegment.ofAddress(block.address()));
        released++;
      }
    }
    return released;
  }

  /** Gives every free block back to the pool it came from. */
  synchronized void drain() {
    for (ArrayDeque<Block> blocks : free) {
      blocks.forEach(source::give);
      blocks.clear();
    }
  }

  /** Returns how many blocks were ever allocated. */
  synchronized long allocations() {
    return allocations;
  }
}
