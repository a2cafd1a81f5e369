// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.ArrayList;
import java.util.List;
import ponder.Grown;
import ponder.Tensor;

/**
 * A transformer that reads one segment at a time and knows nothing of the segments before but a few
 * vectors: they stand before the segment's tokens, and once more behind them, where what becomes of
 * them is the memory of the next segment. Source: Bulatov et al., arXiv:2207.06881.
 *
 * @param decoder reads a segment
 * @param first [slots, width]: the memory of the first segment
 * @param segment how many tokens it has, 1 or more
 * @param carries whether a segment leaves a memory; if not, each begins like the first
 */
public record MemoryTokens(Transformer decoder, Tensor first, long segment, boolean carries)
    implements SequenceModel {
  /** Checks the segment. */
  public MemoryTokens {
    if (segment < 1) {
      throw new IllegalArgumentException("memory tokens: segment is " + segment + ", below 1");
    }
  }

  /**
   * Returns a new model.
   *
   * @param vocabulary number of tokens
   * @param layers number of blocks
   * @param width size of the hidden state
   * @param heads how attention is divided
   * @param slots how many vectors pass from a segment to the next
   * @param segment how many tokens a segment has
   */
  public static MemoryTokens create(
      Parameters p,
      long vocabulary,
      int layers,
      long width,
      Heads heads,
      long slots,
      long segment) {
    Transformer decoder = Transformer.create(p, vocabulary, layers, width, heads);
    return new MemoryTokens(decoder, p.normal("memory", 1, slots, width), segment, true);
  }

  /** Returns this model with the same parameters, its segments leaving no memory. */
  public MemoryTokens withoutMemory() {
    return new MemoryTokens(decoder, first, segment, false);
  }

  @Override
  public Tensor output() {
    return decoder.output();
  }

  @Override
  public Reading read(Tensor tokens, Memory memory) {
    memory.require("memory tokens", 1, 2 * decoder.attention().size());
    Tensor x = decoder.embedding().apply(tokens);
    long batch = tokens.shape().dim(0);
    long steps = tokens.shape().dim(1);
    long slots = first.shape().dim(0);
    Tensor held = memory.steps() == 0 ? null : memory.tensors().getFirst();
    List<Grown> read = memory.grown();
    Tensor hidden = null;
    for (long done = 0; done < steps; ) {
      long before = (memory.steps() + done) % segment;
      if (before == 0) {
        held =
            held == null || !carries
                ? first.broadcast(0, batch)
                : decoder.norm().apply(decoder.through(held, slots + segment, read, none()));
        List<Grown> begun = none();
        decoder.through(held, 0, List.of(), begun);
        read = begun;
      }
      long count = Math.min(segment - before, steps - done);
      List<Grown> carried = none();
      Tensor top = decoder.through(x.slice(1, done, count), slots + before, read, carried);
      hidden = hidden == null ? top : hidden.concat(top, 1);
      read = carried;
      done += count;
    }
    Memory after = new Memory(memory.steps() + steps, List.of(held), read);
    return new Reading(decoder.norm().apply(hidden), after);
  }

  private static List<Grown> none() {
    return new ArrayList<>();
  }
}
