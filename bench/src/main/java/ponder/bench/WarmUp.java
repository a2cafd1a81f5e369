// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.lang.management.ManagementFactory;
import java.util.function.LongSupplier;

/**
 * Runs of a subject until the JVM's compiler is silent: what it has not compiled yet is slower, and
 * on several threads its processor time would count.
 */
final class WarmUp {
  static final long SILENCE_NANOS = 250_000_000;

  /** Of a part: some subjects keep what they make until an iteration ends. */
  static final long PART_NANOS = 50_000_000;

  private WarmUp() {}

  /** Runs a subject until nothing has been compiled for a while, but not for longer than that. */
  static void run(Subject subject, long mostNanos) {
    var compiler = ManagementFactory.getCompilationMXBean();
    run(subject, mostNanos, compiler::getTotalCompilationTime, System::nanoTime);
  }

  static void run(Subject subject, long mostNanos, LongSupplier compiled, LongSupplier clock) {
    long start = clock.getAsLong();
    long now = start;
    long silentFrom = start;
    long seen = compiled.getAsLong();
    while (now - silentFrom < SILENCE_NANOS && now - start < mostNanos) {
      subject.begin();
      for (long part = now; now - part < PART_NANOS; now = clock.getAsLong()) subject.run();
      subject.end();
      long sum = compiled.getAsLong();
      if (sum != seen) silentFrom = now;
      seen = sum;
    }
  }
}
