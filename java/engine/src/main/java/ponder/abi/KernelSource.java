// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

/** What hands out kernels: the engine's launches, which show their users a narrower face. */
public interface KernelSource {
  /** Returns the kernels of the launch's device. */
  Kernels kernels();
}
