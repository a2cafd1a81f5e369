// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.foreign.MemorySegment;
import ponder.abi.KernelSource;
import ponder.abi.Kernels;

/** The engine's launch: it also hands the kernels to ops inside the module. */
final class Stage implements Launch, KernelSource {
  private final Device device;
  private final boolean[] needs;

  /**
   * Makes a launch.
   *
   * @param needs which inputs' derivatives are wanted, or null for all
   */
  Stage(Device device, boolean[] needs) {
    this.device = device;
    this.needs = needs;
  }

  @Override
  public Tensor output(DType type, Shape shape) {
    return device.innermost("output").fresh(type, shape);
  }

  @Override
  public MemorySegment memory(Tensor t) {
    if (device.unusable(t)) {
      device.check("memory", "tensor", t);
    }
    device.uses(t);
    return t.memory;
  }

  @Override
  public boolean needs(int input) {
    return needs == null || needs[input];
  }

  @Override
  public Kernels kernels() {
    return device.kernels;
  }

  /** Returns the same memory under another shape of the same size. */
  Tensor view(Tensor t, Shape shape) {
    return new Tensor(t.home, t.dtype(), shape, t.memory, t.base);
  }
}
