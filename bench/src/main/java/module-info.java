// SPDX-License-Identifier: Apache-2.0
/** The benchmarks: one table of rows, timed by JMH, ours beside the rivals. */
module ponder.bench {
  requires com.fasterxml.jackson.databind;
  requires info.picocli;
  requires java.management;
  requires jmh.core;
  requires ponder.engine;
  requires ponder.lab;

  opens ponder.bench to
      com.fasterxml.jackson.databind,
      info.picocli;
}
