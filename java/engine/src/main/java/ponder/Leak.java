// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.ref.Cleaner;
import java.util.function.BiConsumer;

/**
 * Logs a warning that names the place of creation when something that must be closed becomes
 * unreachable while open. It frees nothing: what leaked stays leaked, and is to be mended there.
 */
final class Leak implements Runnable {
  private static final Cleaner CLEANER = Cleaner.create();

  private final String what;
  private final Throwable site;
  private final BiConsumer<String, Throwable> report;
  private final Cleaner.Cleanable cleanable;
  private volatile boolean closed;

  private Leak(Object watched, String what, BiConsumer<String, Throwable> report) {
    this.what = what;
    this.report = report;
    this.site = new Throwable(what + " was created here");
    this.cleanable = CLEANER.register(watched, this);
  }

  static Leak watch(Object watched, String what) {
    return watch(watched, what, Leak::log);
  }

  /** Watches an object; the report gets a sentence and the place where watching began. */
  static Leak watch(Object watched, String what, BiConsumer<String, Throwable> report) {
    return new Leak(watched, what, report);
  }

  void closed() {
    closed = true;
    cleanable.clean();
  }

  @Override
  public void run() {
    if (!closed) {
      report.accept(what + " was never closed; its memory is lost", site);
    }
  }

  private static void log(String sentence, Throwable site) {
    System.getLogger("ponder").log(System.Logger.Level.WARNING, sentence, site);
  }
}
