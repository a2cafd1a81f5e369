// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.List;

/**
 * What one fork measured.
 *
 * @param samples its iterations, without those that warm up
 * @param flops operations of a run, by the meter; 0 where nobody counts
 * @param bytes bytes that a run reads and writes
 * @param elements numbers or tokens that a run makes
 * @param amount what a run does, in the peak's unit
 * @param allocated bytes of Java garbage of a run; NaN where nobody counts
 * @param latencyNanos the time in which nearly all runs of an iteration were done, the median of
 *     the iterations; 0 where nobody asks
 */
record Round(
    List<Sample> samples,
    double flops,
    double bytes,
    double elements,
    double amount,
    double allocated,
    double latencyNanos) {}
