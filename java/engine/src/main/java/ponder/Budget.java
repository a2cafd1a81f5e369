// SPDX-License-Identifier: Apache-2.0
package ponder;

/**
 * An amount of training FLOPs, spent by whatever a meter counts from the budget's creation on and
 * is not exempted.
 */
public final class Budget {
  private final Meter meter;
  private final long flops;
  private long start;

  /**
   * Opens a budget on a meter.
   *
   * @param flops the FLOPs that may be spent, at least 1
   */
  public Budget(Meter meter, long flops) {
    this(meter, flops, 0);
  }

  /**
   * Opens a budget of which a part was spent earlier, by a run that is now resumed.
   *
   * @param flops the FLOPs that may be spent, at least 1
   * @param spent the FLOPs spent before, at least 0
   */
  public Budget(Meter meter, long flops, long spent) {
    if (flops < 1) {
      throw new IllegalArgumentException("budget: flops is " + flops + ", must be at least 1");
    }
    if (spent < 0) {
      throw new IllegalArgumentException("budget: spent is " + spent + ", must be at least 0");
    }
    this.meter = meter;
    this.flops = flops;
    this.start = meter.total().flops() - spent;
  }

  /** Returns the FLOPs that may be spent. */
  public long flops() {
    return flops;
  }

  /** Returns the FLOPs spent so far. */
  public long spent() {
    return meter.total().flops() - start;
  }

  /** Takes work out of what was spent, such as that of measuring a validation loss. */
  public void exempt(Work work) {
    start += work.flops();
  }

  /** Returns the share spent so far: 0 at the start, 1 or more when exhausted. */
  public double share() {
    return (double) spent() / flops;
  }

  /** Returns whether everything is spent. */
  public boolean exhausted() {
    return spent() >= flops;
  }
}
