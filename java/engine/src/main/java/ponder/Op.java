// SPDX-License-Identifier: Apache-2.0
package ponder;

/** A differentiable function of tensors: a kernel, its derivative, and what one call costs. */
public sealed interface Op permits Op.Primitive, Op.Fused {
  /**
   * Checks the inputs' shapes and types and runs the kernel. Called by {@link #apply} alone, after
   * it has checked that every input is alive and on the launch's device.
   *
   * @throws IllegalArgumentException naming the input, its shape or type, and the rule
   */
  Result forward(Launch launch, Tensor... in);

  /** Returns the cost of one forward call on inputs of these shapes. */
  Work work(Tensor... in);

  /**
   * Runs the op in the innermost open scope of the inputs' device, counts its work, and records it
   * if the scope records.
   *
   * @throws IllegalArgumentException if an input is null, on another device, or refused by the op
   * @throws IllegalStateException if an input's scope or store is closed, or no scope is open
   * @throws WrongThreadException if the device's scopes belong to another thread
   * @throws DeviceOutOfMemoryException if the device's limit leaves no room for the result
   */
  default Tensor apply(Tensor... in) {
    return Device.apply(this, in.clone());
  }

  /** Runs an op of one input, as {@link #apply(Tensor...)} does. */
  default Tensor apply(Tensor x) {
    return Device.apply(this, new Tensor[] {x});
  }

  /** Runs an op of two inputs, as {@link #apply(Tensor...)} does. */
  default Tensor apply(Tensor a, Tensor b) {
    return Device.apply(this, new Tensor[] {a, b});
  }

  /**
   * An op whose derivative is written in ops, so that derivatives of any order follow from it.
   */
  non-sealed interface Primitive extends Op {
    /**
     * Returns the derivative by one input. Called only for inputs it is wanted for.
     *
     * @param input which input
     * @param dy the derivative by the value, of the value's shape
     * @param y the value
     * @return a tensor of the input's shape, or null for a derivative that is zero everywhere
     */
    Tensor adjoint(int input, Tensor dy, Tensor y, Tensor... in);
  }

  /**
   * A kernel that equals its definition and is faster. First derivatives use the backward kernel;
   * derivatives that are to be differentiated again use the definition.
   */
  non-sealed interface Fused extends Op {
    /**
     * Runs the op as {@link #apply(Tensor...)} does and returns all that its kernel computed. What
     * it saved is constant: no derivative passes through it.
     */
    default Result run(Tensor... in) {
      return Device.run(this, in.clone());
    }

    /** Returns the value computed by primitives: the meaning, and the second-order path. */
    Tensor definition(Tensor... in);

    /**
     * Runs the backward kernel.
     *
     * @param dy the derivative by the value, of the value's shape
     * @param y what {@link #forward} returned
     * @return for each input a tensor of its shape, or null where {@link Launch#needs} is false or
     *     the derivative is zero everywhere
     */
    Tensor[] backward(Launch launch, Tensor dy, Result y, Tensor... in);

    /** Returns the cost of one backward call on inputs of these shapes. */
    Work backwardWork(Tensor... in);
  }
}
