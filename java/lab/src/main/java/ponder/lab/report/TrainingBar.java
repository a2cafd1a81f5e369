// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import java.io.PrintStream;
import java.time.Duration;
import java.util.Locale;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;
import ponder.train.Progress;

/**
 * Shows a training run: a bar on a terminal, else a plain line at every quarter of the budget. Both
 * tell the share of the budget, the loss, the speed and the time left.
 */
public final class TrainingBar implements Progress, AutoCloseable {
  private static final double SMOOTHING = 0.98;

  private final String name;
  private final PrintStream plain;
  private final ProgressBar bar;
  private double loss = Double.NaN;
  private double validation = Double.NaN;
  private int quarters;

  /**
   * Begins to show a run.
   *
   * @param name the run's name
   * @param terminal whether the output is a terminal
   * @param out where plain lines go
   */
  public TrainingBar(String name, boolean terminal, PrintStream out) {
    this.name = name;
    this.plain = out;
    this.bar =
        terminal
            ? new ProgressBarBuilder()
                .setTaskName(name)
                .setStyle(ProgressBarStyle.ASCII)
                .setInitialMax(100)
                .setUpdateIntervalMillis(200)
                .build()
            : null;
  }

  @Override
  public void after(Step step) {
    loss = Double.isNaN(loss) ? step.loss() : SMOOTHING * loss + (1 - SMOOTHING) * step.loss();
    if (step.validated()) {
      validation = step.validation();
    }
    double share = Math.min(1, (double) step.flops() / step.budget());
    if (bar != null) {
      bar.stepTo((long) (100 * share));
      bar.setExtraMessage(message(step));
    } else if ((int) (4 * share) > quarters) {
      quarters = (int) (4 * share);
      double left = share >= 1 ? 0 : step.seconds() * (1 - share) / share;
      plain.printf(
          Locale.ROOT,
          "%s: %3.0f %% of the budget, step %d,%s, %s left%n",
          name,
          100 * share,
          step.step(),
          message(step),
          clock(left));
    }
  }

  private String message(Step step) {
    String measured =
        Double.isNaN(validation) ? "" : String.format(Locale.ROOT, ", validation %.4f", validation);
    return String.format(
        Locale.ROOT,
        " loss %.4f%s, rate %.1e, %.0f GFLOP/s",
        loss,
        measured,
        step.rate(),
        step.flops() / step.seconds() * 1e-9);
  }

  private static String clock(double seconds) {
    Duration d = Duration.ofSeconds(Math.round(seconds));
    return "%d:%02d".formatted(d.toMinutes(), d.toSecondsPart());
  }

  @Override
  public void close() {
    if (bar != null) {
      bar.close();
    }
  }
}
