// SPDX-License-Identifier: Apache-2.0
package ponder;

/** A step that writes values of a {@link Store} in place, such as an optimiser's. */
public interface Update {
  /**
   * Checks shapes and types and writes the values.
   *
   * @param values the values of the store to write, in the order the update expects
   * @param in what it reads
   */
  void run(Launch launch, Tensor[] values, Tensor... in);

  /** Returns the cost of one step. */
  Work work(Tensor[] values, Tensor... in);
}
