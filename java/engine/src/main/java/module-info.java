// SPDX-License-Identifier: Apache-2.0
/** The engine: tensors, autodiff and counted compute on handwritten kernels. */
@SuppressWarnings("module") // ponder.bench is compiled after this module
module ponder.engine {
  requires static jcuda; // absent, no devices are listed; all else works

  exports ponder;
  exports ponder.abi to
      ponder.bench;
  exports ponder.nn;
  exports ponder.op;
  exports ponder.optim;
  exports ponder.train;
}
