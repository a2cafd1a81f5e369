// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import java.io.PrintStream;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;

/**
 * Whether the user has asked the process to end (Ctrl-C, or a plain kill). From then on a training
 * run has a few seconds to write down where it stands; answers to test queries that are not
 * finished are asked for anew when the run is resumed.
 */
final class Interruption implements AutoCloseable {
  /** A training run asks after every step; where none has asked for so long, none is running. */
  private static final double PATIENCE_SECONDS = 3;

  private final AtomicBoolean asked = new AtomicBoolean();
  private final CountDownLatch ended = new CountDownLatch(1);
  private final Thread hook = new Thread(this::await, "interruption");
  private final PrintStream out;
  private final String resume;
  private volatile long heard;

  /**
   * Begins to listen.
   *
   * @param out where the user is told how to go on
   * @param resume the command that does
   */
  Interruption(PrintStream out, String resume) {
    this.out = out;
    this.resume = resume;
    Runtime.getRuntime().addShutdownHook(hook);
  }

  private void await() {
    heard = System.nanoTime();
    asked.set(true);
    try {
      while (!ended.await(50, TimeUnit.MILLISECONDS)) {
        if ((System.nanoTime() - heard) * 1e-9 > PATIENCE_SECONDS) {
          break;
        }
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
    out.println();
    out.println("Stopped. To go on: " + resume);
  }

  /** Returns whether the run shall end; asked after every training step. */
  boolean isAsked() {
    heard = System.nanoTime();
    return asked.get();
  }

  @Override
  public void close() {
    if (!asked.get()) {
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException e) {
        // The process is ending already: the hook runs, and is told below.
      }
    }
    ended.countDown();
  }
}
