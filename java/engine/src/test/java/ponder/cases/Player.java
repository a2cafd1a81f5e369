// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.lang.reflect.InvocationTargetException;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import ponder.abi.Header;
import ponder.abi.Kernels;

/**
 * Makes calls. What a call writes is filled with NaN first; every array lies between two guards, at
 * an address aligned to its element and no more.
 */
public final class Player {
  private static final long GUARD = 64;
  private static final byte GUARD_BYTE = (byte) 0xA5;

  private Player() {}

  /**
   * Makes a call and returns the arrays that it wrote or updated.
   *
   * @throws AssertionError if a guard or an array that is only read has changed
   */
  public static Map<String, Array> play(Kernels kernels, Call call) {
    try (Arena arena = Arena.ofConfined()) {
      Map<String, MemorySegment> memory = layOut(arena, call);
      invoke(kernels, call, data(call, memory));
      var results = new LinkedHashMap<String, Array>();
      for (var entry : memory.entrySet()) {
        Array array = call.array(entry.getKey());
        byte[] content = check(call, entry.getKey(), array, entry.getValue());
        if (array.use() != Array.Use.READ) {
          results.put(entry.getKey(), new Array(array.use(), array.type(), array.shape(), content));
        }
      }
      return results;
    }
  }

  /** Makes a call in which one array ends a byte before its sizes say. */
  public static void playShort(Kernels kernels, Call call, String name) {
    try (Arena arena = Arena.ofConfined()) {
      Map<String, MemorySegment> data = data(call, layOut(arena, call));
      data.computeIfPresent(name, (n, whole) -> whole.asSlice(0, whole.byteSize() - 1));
      invoke(kernels, call, data);
    }
  }

  /** Returns the blocks of a call's arrays, their guards included. */
  private static Map<String, MemorySegment> layOut(Arena arena, Call call) {
    var blocks = new LinkedHashMap<String, MemorySegment>();
    for (var entry : call.arguments().entrySet()) {
      if (entry.getValue() instanceof Array array) {
        blocks.put(entry.getKey(), layOut(arena, array));
      }
    }
    return blocks;
  }

  private static Map<String, MemorySegment> data(Call call, Map<String, MemorySegment> blocks) {
    var data = new LinkedHashMap<String, MemorySegment>();
    blocks.forEach((name, block) -> data.put(name, data(block, call.array(name))));
    return data;
  }

  private static MemorySegment layOut(Arena arena, Array array) {
    long bytes = array.content().length;
    MemorySegment block = arena.allocate(bytes + 3 * GUARD, GUARD);
    block.fill(GUARD_BYTE);
    MemorySegment data = block.asSlice(GUARD + array.type().bytes(), bytes);
    if (array.use() == Array.Use.WRITTEN) data.fill((byte) -1);
    else data.copyFrom(array.memory());
    return block;
  }

  private static MemorySegment data(MemorySegment block, Array array) {
    return block.asSlice(GUARD + array.type().bytes(), array.content().length);
  }

  private static byte[] check(Call call, String name, Array array, MemorySegment block) {
    long start = GUARD + array.type().bytes();
    long end = start + array.content().length;
    for (long i = 0; i < block.byteSize(); i++) {
      if ((i < start || i >= end) && block.get(ValueLayout.JAVA_BYTE, i) != GUARD_BYTE) {
        throw new AssertionError(
            call
                + ": "
                + name
                + " was written "
                + (i < start ? i - start : i - end + 1)
                + " bytes outside");
      }
    }
    byte[] content = data(block, array).toArray(ValueLayout.JAVA_BYTE);
    if (array.use() == Array.Use.READ && !Arrays.equals(content, array.content())) {
      throw new AssertionError(call + ": " + name + " is read only and was changed");
    }
    return content;
  }

  private static void invoke(Kernels kernels, Call call, Map<String, MemorySegment> data) {
    var types = new Class<?>[call.function().arguments().size()];
    var values = new Object[types.length];
    for (int i = 0; i < types.length; i++) {
      Header.Parameter parameter = call.function().arguments().get(i);
      types[i] = parameter.javaType();
      Object value = call.arguments().get(parameter.name());
      if (value instanceof Array) {
        values[i] = data.get(parameter.name());
      } else if (value == null) {
        values[i] = MemorySegment.NULL;
      } else {
        values[i] = types[i] == int.class ? (Object) ((Long) value).intValue() : value;
      }
    }
    try {
      Kernels.class.getMethod(call.function().javaName(), types).invoke(kernels, values);
    } catch (InvocationTargetException e) {
      if (e.getCause() instanceof RuntimeException cause) throw cause;
      throw new AssertionError(call.toString(), e.getCause());
    } catch (ReflectiveOperationException e) {
      throw new AssertionError(call.toString(), e);
    }
  }
}
