// SPDX-License-Identifier: Apache-2.0
/** JMH benchmarks of the engine. */
module ponder.bench {
  requires jmh.core;
  requires ponder.engine;
}
