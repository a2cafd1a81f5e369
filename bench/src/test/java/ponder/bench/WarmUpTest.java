// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.api.Test;
import ponder.Work;

final class WarmUpTest {
  private static final long RUN_NANOS = 10_000_000;
  private static final long MOST_NANOS = 5_000_000_000L;
  private static final int PART = (int) (WarmUp.PART_NANOS / RUN_NANOS);

  /** A subject that needs some runs until it is compiled. */
  private static final class Compiled implements Subject {
    private final int last;
    private int runs;
    private int begun;
    private int ended;

    Compiled(int last) {
      this.last = last;
    }

    @Override
    public void check(int repeats) {}

    @Override
    public void begin() {
      begun++;
    }

    @Override
    public Object run() {
      return ++runs;
    }

    @Override
    public void end() {
      ended++;
    }

    @Override
    public Work work() {
      return Work.NONE;
    }

    long compiled() {
      return Math.min(runs, last);
    }

    long clock() {
      return runs * RUN_NANOS;
    }
  }

  private static int runs(int last) {
    var subject = new Compiled(last);
    WarmUp.run(subject, MOST_NANOS, subject::compiled, subject::clock);
    assertEquals(subject.begun, subject.ended);
    assertEquals(subject.runs, subject.begun * PART);
    return subject.runs;
  }

  @Test
  void goesOnUntilTheCompilerIsSilent() {
    int silent = (int) (WarmUp.SILENCE_NANOS / RUN_NANOS);
    assertEquals(silent, runs(0));
    assertEquals(PART + silent, runs(1));
    assertEquals(60 * PART + silent, runs(60 * PART));
    assertEquals(61 * PART + silent, runs(60 * PART + 1));
  }

  @Test
  void endsThoughTheCompilerIsNeverSilent() {
    assertEquals(MOST_NANOS / RUN_NANOS, runs(Integer.MAX_VALUE));
  }
}
