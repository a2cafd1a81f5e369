// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.List;
import ponder.lab.cities.PathScore;

/**
 * One answer to every test query, by one method at one amount of test-time compute.
 *
 * @param method how paths are written and chosen
 * @param spend how much is spent: samples, width, or rounds
 * @param flops FLOPs per query, the checks included
 * @param seconds wall time per query
 * @param scores what is right about each answer
 * @param places the places of each answer, the source not among them
 */
public record Answers(
    String method,
    int spend,
    double flops,
    double seconds,
    List<PathScore> scores,
    List<int[]> places) {}
