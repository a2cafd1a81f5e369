// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.List;
import java.util.function.UnaryOperator;
import ponder.Tensor;

/**
 * What a sequence model carries from the steps it has read to those that follow: keys and values of
 * attention, states of recurrent layers. Each tensor's first axis is the batch.
 *
 * @param steps how many steps have been read
 * @param tensors the carried tensors, in the model's own order; none before the first step
 */
public record Memory(long steps, List<Tensor> tensors) {
  /** The memory of a model that has read nothing. */
  public static final Memory EMPTY = new Memory(0, List.of());

  /** Makes a memory with an own copy of the list. */
  public Memory {
    tensors = List.copyOf(tensors);
  }

  /** Checks that a model that carries so many tensors made this memory, or none. */
  void require(String model, int count) {
    if (steps > 0 && tensors.size() != count) {
      throw new IllegalArgumentException(
          model + ": the memory holds " + tensors.size() + " tensors, this model carries " + count);
    }
  }

  /** Returns the memory with each tensor replaced, such as by a copy in another scope. */
  public Memory map(UnaryOperator<Tensor> f) {
    return new Memory(steps, tensors.stream().map(f).toList());
  }

  /**
   * Returns the memory of some of the batch's rows, in that order.
   *
   * @param rows [count], I32, row numbers, repeats allowed
   */
  public Memory rows(Tensor rows) {
    // Rows of BF16 are gathered as F32, which holds them exactly.
    return map(t -> t.cast(t.dtype().sums()).gather(rows).cast(t.dtype()));
  }
}
