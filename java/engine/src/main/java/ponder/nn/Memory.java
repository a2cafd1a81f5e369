// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import ponder.DType;
import ponder.Grown;
import ponder.Shape;
import ponder.Tensor;

/**
 * What a sequence model carries from the steps it has read to those that follow: keys and values of
 * attention, states of recurrent layers. Each tensor's first axis is the batch.
 *
 * @param steps how many steps have been read
 * @param tensors carried tensors of a fixed size, in the model's own order; none before the first
 *     step
 * @param grown carried tensors with a row for each step, [batch, steps, ...], in the model's own
 *     order; none before the first step
 */
public record Memory(long steps, List<Tensor> tensors, List<Grown> grown) {
  /** The memory of a model that has read nothing. */
  public static final Memory EMPTY = new Memory(0, List.of());

  /** Makes a memory with own copies of the lists. */
  public Memory {
    tensors = List.copyOf(tensors);
    grown = List.copyOf(grown);
  }

  /** Makes a memory of tensors of a fixed size. */
  public Memory(long steps, List<Tensor> tensors) {
    this(steps, tensors, List.of());
  }

  /** Checks that a model that carries so many tensors made this memory, or none. */
  void require(String model, int tensors, int grown) {
    if (steps > 0 && (this.tensors.size() != tensors || this.grown.size() != grown)) {
      throw new IllegalArgumentException(
          "%s: the memory holds %s tensors and %s that grow, this model carries %s and %s"
              .formatted(model, this.tensors.size(), this.grown.size(), tensors, grown));
    }
  }

  /** Returns the memory with each tensor replaced, such as by a copy in another scope. */
  public Memory map(UnaryOperator<Tensor> f) {
    return new Memory(
        steps,
        tensors.stream().map(f).toList(),
        grown.stream().map(g -> Grown.of(f.apply(g.tensor()))).toList());
  }

  /**
   * Returns the memory of some of the batch's rows, in that order.
   *
   * @param rows [count], I32, row numbers, repeats allowed
   */
  public Memory rows(Tensor rows) {
    return new Memory(
        steps,
        tensors.stream()
            .map(t -> t.dtype() == DType.I32 ? places(t, rows) : t.gather(rows))
            .toList(),
        grown.stream().map(g -> g.sequences(rows)).toList());
  }

  /** Returns the rows of numbers that have no derivative, [batch]. */
  private static Tensor places(Tensor t, Tensor rows) {
    int[] places = t.toInts();
    int[] chosen = Arrays.stream(rows.toInts()).map(row -> places[row]).toArray();
    return t.device().scope().indices(Shape.of(chosen.length), chosen);
  }
}
