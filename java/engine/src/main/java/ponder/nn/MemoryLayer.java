// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.List;
import ponder.Grown;
import ponder.Tensor;
import ponder.op.TopKRead;

/**
 * x + W read(norm(x)): every step writes a key and a value and reads those of the few earlier steps
 * whose keys are nearest to its query, however long ago. Source: Wu et al., arXiv:2203.08913, with
 * derivatives into the memory; Rae et al., arXiv:1610.09027.
 *
 * @param norm normalises what is read
 * @param query makes the queries from the normalised input
 * @param key makes the keys from it
 * @param value makes the values from it
 * @param mix brings what was read back
 * @param reads how many steps are read; 0 for none, which leaves x as it is
 */
public record MemoryLayer(
    Norm norm, Linear query, Linear key, Linear value, Linear mix, long reads) {
  /**
   * Returns a layer.
   *
   * @param reads how many steps each step reads
   * @param gain the initial scale of the residual path's last product
   */
  public static MemoryLayer create(Parameters p, long width, long reads, double gain) {
    return new MemoryLayer(
        Norm.create(p.in("norm"), width),
        Linear.create(p.in("query"), width, width, 1),
        Linear.create(p.in("key"), width, width, 1),
        Linear.create(p.in("value"), width, width, 1),
        Linear.create(p.in("mix"), width, width, gain),
        reads);
  }

  /**
   * Returns the layer's result.
   *
   * @param x [batch, steps, width]
   * @param start how many steps came before
   * @param past the keys and values [batch, start, width] of those steps; none if start is 0
   * @param carried where the keys and values of all steps are added
   */
  public Tensor apply(Tensor x, long start, List<Grown> past, List<Grown> carried) {
    Tensor n = norm.apply(x);
    Tensor k = key.apply(n);
    Tensor v = value.apply(n);
    Grown keys = start > 0 ? past.get(0).append(k) : Grown.of(k);
    Grown values = start > 0 ? past.get(1).append(v) : Grown.of(v);
    carried.add(keys);
    carried.add(values);
    if (reads == 0) return x;
    TopKRead read = TopKRead.of(reads).after(start);
    return x.add(mix.apply(read.read(query.apply(n), keys.room(), values.room())));
  }
}
