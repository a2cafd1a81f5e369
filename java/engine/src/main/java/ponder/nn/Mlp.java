// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.Tensor;
import ponder.op.Gelu;

/**
 * x + W2 gelu(W1 norm(x)): a two-layer network at every position, with a residual path.
 *
 * @param norm normalises what is read
 * @param wide [width, inner]
 * @param narrow [inner, width]
 */
public record Mlp(Norm norm, Linear wide, Linear narrow) {
  /**
   * Returns a block.
   *
   * @param gain the initial scale of the residual path's last product
   */
  public static Mlp create(Parameters p, long width, long inner, double gain) {
    return new Mlp(
        Norm.create(p.in("norm"), width),
        Linear.create(p.in("wide"), width, inner, 1),
        Linear.create(p.in("narrow"), inner, width, gain));
  }

  /** Returns the block's result, of x's shape [..., width]. */
  public Tensor apply(Tensor x) {
    return x.add(narrow.apply(Gelu.gelu(wide.apply(norm.apply(x)))));
  }
}
