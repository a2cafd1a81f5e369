// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.List;
import ponder.Grown;
import ponder.Shape;
import ponder.Tensor;
import ponder.op.Attention;
import ponder.op.Rotary;

/**
 * x + attention(norm(x)): self-attention with rotary positions and a residual path, causal or in both
 * directions. Source:
 * Vaswani et al., arXiv:1706.03762, with the norm first (Xiong et al., arXiv:2002.04745).
 *
 * @param norm normalises what is read
 * @param query makes the queries from the normalised input
 * @param key makes the keys from it
 * @param value makes the values from it
 * @param mix brings the heads' results together
 * @param heads how it is divided
 */
public record AttentionBlock(
    Norm norm, Linear query, Linear key, Linear value, Linear mix, Heads heads) {
  private static final double ROTARY_BASE = 10_000;

  /**
   * Returns a block.
   *
   * @param gain the initial scale of the residual path's last product
   */
  public static AttentionBlock create(Parameters p, long width, long heads, double gain) {
    return create(p, width, Heads.of(heads), gain);
  }

  /**
   * Returns a block whose heads may share keys and values, or see a part of the steps.
   *
   * @param gain the initial scale of the residual path's last product
   */
  public static AttentionBlock create(Parameters p, long width, Heads heads, double gain) {
    long kvWidth = heads.kvHeads() * heads.size("attention", width);
    return new AttentionBlock(
        Norm.create(p.in("norm"), width),
        Linear.create(p.in("query"), width, width, 1),
        Linear.create(p.in("key"), width, kvWidth, 1),
        Linear.create(p.in("value"), width, kvWidth, 1),
        Linear.create(p.in("mix"), width, width, gain),
        heads);
  }

  /**
   * Returns the block's result.
   *
   * @param x [batch, steps, width]
   * @param start how many steps came before
   * @param past the keys and values [batch, start, kvHeads, size] of those steps, in the products'
   *     type; none if start is 0
   * @param carried where the keys and values of all steps are added
   */
  public Tensor apply(Tensor x, long start, List<Grown> past, List<Grown> carried) {
    Projected of = projected(x, start);
    Grown keys = start > 0 ? past.get(0).append(of.k) : Grown.of(of.k);
    Grown values = start > 0 ? past.get(1).append(of.v) : Grown.of(of.v);
    carried.add(keys);
    carried.add(values);
    return x.add(mixed(heads.attention().apply(of.q, keys, values)));
  }

  /**
   * Returns the result of attention in both directions.
   *
   * @param x [batch, steps, width]
   * @param lengths [batch], I32: steps from there on are seen by none; null where all count
   */
  public Tensor both(Tensor x, Tensor lengths) {
    Projected of = projected(x, 0);
    Attention full = Attention.full().window(heads.window());
    return x.add(
        mixed(
            lengths == null
                ? full.apply(of.q, of.k, of.v)
                : full.lengths(lengths).apply(of.q, of.k, of.v)));
  }

  private record Projected(Tensor q, Tensor k, Tensor v) {}

  /** Returns the queries [batch, steps, heads, size], keys and values of x. */
  private Projected projected(Tensor x, long start) {
    Shape s = x.shape();
    Shape split = Shape.of(s.dim(0), s.dim(1), heads.count(), s.dim(2) / heads.count());
    Shape kvSplit = split.with(2, heads.kvHeads());
    Tensor n = norm.apply(x);
    return new Projected(
        turned(query.apply(n).reshape(split), start),
        turned(key.apply(n).reshape(kvSplit), start),
        value.product(n).reshape(kvSplit));
  }

  /** Returns the heads' results brought together, [batch, steps, width]. */
  private Tensor mixed(Tensor out) {
    Shape s = out.shape();
    return mix.apply(out.reshape(s.dim(0), s.dim(1), s.dim(2) * s.dim(3)));
  }

  /** Returns queries or keys at their positions, in the products' type. */
  private Tensor turned(Tensor x, long start) {
    return Rotary.rotary(x, start, ROTARY_BASE).cast(query.products());
  }
}
