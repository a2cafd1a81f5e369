// SPDX-License-Identifier: Apache-2.0
package ponder;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Arrays;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

class LeakTest {
  private record Report(String sentence, Throwable site) {}

  private final BlockingQueue<Report> reports = new LinkedBlockingQueue<>();

  private void forget(String what, boolean close) {
    Leak leak = Leak.watch(new Object(), what, (s, t) -> reports.add(new Report(s, t)));
    if (close) {
      leak.closed();
    }
  }

  @Test
  void namesWhatWasNotClosedAndWhereItCameFrom() throws InterruptedException {
    forget("thing 1", true);
    forget("thing 2", false);
    Report report = null;
    for (int i = 0; i < 100 && report == null; i++) {
      System.gc();
      report = reports.poll(100, TimeUnit.MILLISECONDS);
    }
    assertNotNull(report);
    assertEquals("thing 2 was never closed; its memory is lost", report.sentence);
    assertTrue(
        Arrays.stream(report.site.getStackTrace())
            .anyMatch(f -> f.getMethodName().equals("forget")));
    assertNull(reports.poll());
  }
}
