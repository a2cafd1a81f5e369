// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import ponder.abi.Pointers;

/**
 * The memory of one scope, store or graph, handed out in order from blocks of a pool and given back
 * whole. Its arena makes every segment of it unusable at the same moment.
 */
final class Slab {
  private static final long ALIGNMENT = 64;
  private static final long LARGEST_GROWTH = 32L << 20;

  final Device device;
  private final String kind;
  private final long number;
  private final Arena arena;
  final Pool pool;
  private final List<Pool.Block> blocks = new ArrayList<>(4);
  private final Pieces spares = new Pieces();
  private MemorySegment block = MemorySegment.NULL;
  private long used;
  private long held;
  private boolean open = true;

  /** When all of it may last have been written anew at once, as a graph's is by a launch. */
  long written;

  /**
   * Makes an empty slab.
   *
   * @param kind what owns it, "scope", "store" or "graph"
   */
  Slab(Device device, String kind, Arena arena, Pool pool) {
    this.device = device;
    this.kind = kind;
    this.number = device.nextSerial();
    this.arena = arena;
    this.pool = pool;
  }

  /** Returns the owner's name for messages. */
  String name() {
    return kind + " " + number;
  }

  /** Returns whether it belongs to a store, so that its values may be written again. */
  boolean isStore() {
    return kind.equals("store");
  }

  /** Returns whether it belongs to a graph, so that launches write it again. */
  boolean isGraph() {
    return kind.equals("graph");
  }

  boolean isOpen() {
    return open;
  }

  /** Returns the bytes of all its blocks. */
  long held() {
    return held;
  }

  /** Returns memory of that many bytes, aligned to 64, its content undefined. */
  MemorySegment take(long bytes) {
    MemorySegment spare = spares.take(bytes);
    if (spare != null) {
      return spare;
    }
    if (bytes > block.byteSize() - used) {
      return grow(bytes);
    }
    MemorySegment memory = block.asSlice(used, bytes);
    used = Math.min(block.byteSize(), (used + bytes + ALIGNMENT - 1) & -ALIGNMENT);
    return memory;
  }

  /** Serves a request from a new block, and later ones from whichever block has more room. */
  private MemorySegment grow(long bytes) {
    long wanted = Math.max(bytes, Math.min(LARGEST_GROWTH, held / 2));
    Pool.Block taken = pool.take(Pool.kind(wanted));
    blocks.add(taken);
    held += taken.bytes();
    MemorySegment fresh = Pointers.view(taken.address(), taken.bytes(), arena);
    long end = Math.min(fresh.byteSize(), (bytes + ALIGNMENT - 1) & -ALIGNMENT);
    if (fresh.byteSize() - end >= block.byteSize() - used) {
      block = fresh;
      used = end;
    }
    return fresh.asSlice(0, bytes);
  }

  /** Takes memory back that nobody reads any more; the next request of its size gets it. */
  void giveBack(MemorySegment memory) {
    spares.give(memory);
  }

  /** Gives the memory back. A second call has no effect. */
  void close() {
    if (!open) {
      return;
    }
    open = false;
    spares.clear();
    block = MemorySegment.NULL;
    arena.close();
    for (Pool.Block taken : blocks) {
      pool.give(taken);
    }
    blocks.clear();
  }
}
