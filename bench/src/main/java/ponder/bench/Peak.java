// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/** What the processor does at most, measured in the process that divides by it. */
enum Peak {
  FMA_F32("fma_f32", 0, 800_000, "GFLOP/s"),
  FMA_F64("fma_f64", 0, 800_000, "GFLOP/s"),
  DOT_BF16("dot_bf16", 0, 800_000, "GFLOP/s"),
  EXP("exp", 0, 8_000, "G/s"),
  PHILOX("philox", 0, 4_000, "G/s"),
  /** With one factor from memory, as where a vector is multiplied by matrices. */
  FMA_L3("fma_read", 12 << 20, 10, "GFLOP/s"),
  READ_L1("read", 16 << 10, 20_000, "GB/s"),
  READ_L2("read", 512 << 10, 600, "GB/s"),
  READ_DRAM("read", 256 << 20, 1, "GB/s"),
  COPY_L1("copy", 16 << 10, 20_000, "GB/s"),
  COPY_L2("copy", 512 << 10, 600, "GB/s"),
  COPY_DRAM("copy", 256 << 20, 1, "GB/s");

  private static final int BURSTS = 5;

  private final String loop;
  private final long bytes;
  private final long rounds;
  private final String unit;

  Peak(String loop, long bytes, long rounds, String unit) {
    this.loop = loop;
    this.bytes = bytes;
    this.rounds = rounds;
    this.unit = unit;
  }

  /** Returns the peak of a name, such as {@code read_l1}. */
  static Peak of(String name) {
    return valueOf(name.toUpperCase(Locale.ROOT));
  }

  /** Returns the unit of its rate, and of the rows that are divided by it. */
  String unit() {
    return unit;
  }

  /** Returns whether two threads do twice as much of it. */
  boolean scales() {
    return this != READ_DRAM && this != COPY_DRAM;
  }

  /** Runs the loop and returns how much it did: operations, numbers or bytes. */
  long run() {
    return Loops.run(loop, bytes, rounds);
  }

  /**
   * Returns how much of it one thread does in a second of its time, the median of a few bursts of a
   * millisecond or more; 0 where the processor cannot do it.
   */
  double rate() {
    List<Double> rates = new ArrayList<>();
    for (int burst = 0; burst < BURSTS; burst++) {
      long before = Usage.threadNanos();
      long done = run();
      rates.add(done / (1e-9 * (Usage.threadNanos() - before)));
    }
    return Spread.of(rates).median();
  }
}
