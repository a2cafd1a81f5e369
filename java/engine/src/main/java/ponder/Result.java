// SPDX-License-Identifier: Apache-2.0
package ponder;

/**
 * What a forward kernel computed.
 *
 * @param value the op's value, from {@link Launch#output}
 * @param saved what the backward kernel reads again, such as the statistics of each row
 */
public record Result(Tensor value, Tensor... saved) {
  private static final Tensor[] NOTHING = {};

  /** Makes the result of a kernel that saves nothing. */
  public Result(Tensor value) {
    this(value, NOTHING);
  }
}
