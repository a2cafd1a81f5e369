// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.lang.ref.Cleaner;

/**
 * Logs a warning that names the place of creation when something that must be closed becomes
 * unreachable while open. It frees nothing: what leaked stays leaked, and is to be mended there.
 */
final class Leak implements Runnable {
  private static final Cleaner CLEANER = Cleaner.create();

  private final String what;
  private final Throwable site;
  private final Cleaner.Cleanable cleanable;
  private volatile boolean closed;

  private Leak(Object watched, String what) {
    this.what = what;
    this.site = new Throwable(what + " was created here");
    this.cleanable = CLEANER.register(watched, this);
  }

  static Leak watch(Object watched, String what) {
    return new Leak(watched, what);
  }

  void closed() {
    closed = true;
    cleanable.clean();
  }

  @Override
  public void run() {
    if (!closed) {
      System.getLogger("ponder")
          .log(System.Logger.Level.WARNING, what + " was never closed; its memory is lost", site);
    }
  }
}
