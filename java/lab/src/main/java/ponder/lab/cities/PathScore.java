// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.Objects;

/**
 * What is right about one generated path.
 *
 * @param steps the number of generated steps
 * @param legalSteps those that follow an edge
 * @param isLegal whether the path was ended, has a step, and every step follows an edge
 * @param isAtTarget whether the path was ended at the target
 * @param kilometres the length if the path is legal, else infinite
 * @param stretch the length as a multiple of the shortest path's if the path is legal and ends at
 *     the target, else infinite
 * @param isOptimal whether that length is the shortest path's, up to rounding
 * @param isExact whether the path is the very one the table has
 * @param isFirstMoveRight whether the first step is that path's first step
 * @param operations the comparisons and additions it took to check the path for legality and
 *     length, without a look at the shortest path
 */
public record PathScore(
    int steps,
    int legalSteps,
    boolean isLegal,
    boolean isAtTarget,
    double kilometres,
    double stretch,
    boolean isOptimal,
    boolean isExact,
    boolean isFirstMoveRight,
    long operations) {
  /** A query is solved by a legal path to the target that is at most 10 % too long. */
  public static final double SOLVED_STRETCH = 1.10;

  /**
   * Returns the score of a path.
   *
   * @param truth the shortest paths; the source's must be among them
   * @param generated holds the generated places, the source not among them; a number that is no
   *     place counts as a step that follows no edge
   * @param from where in the array the generated places begin
   * @param count how many there are
   * @param isEnded whether the path was ended, rather than cut off
   * @throws IllegalArgumentException if the table has no path from source to target, or they are
   *     one place
   */
  public static PathScore of(
      PathTable truth,
      int source,
      int target,
      int[] generated,
      int from,
      int count,
      boolean isEnded) {
    Objects.checkFromIndexSize(from, count, generated.length);
    if (source == target || !truth.isConnected(source, target)) {
      throw new IllegalArgumentException("no path leads from node " + source + " to " + target);
    }
    CityGraph graph = truth.graph();
    int legalSteps = 0;
    double kilometres = 0;
    long operations = 2; // ended, and at the target?
    int at = source;
    for (int i = 0; i < count; i++) {
      int next = generated[from + i];
      boolean isStep = isPlace(graph, at) && isPlace(graph, next);
      int arc = isStep ? graph.arc(at, next) : -1;
      operations += 2; // is it a place, and was it found?
      if (isStep) {
        operations += Integer.SIZE - Integer.numberOfLeadingZeros(degree(graph, at));
      }
      if (arc >= 0) {
        legalSteps++;
        kilometres += graph.kilometres(arc);
        operations++;
      }
      at = next;
    }
    boolean isLegal = isEnded && count > 0 && legalSteps == count;
    boolean isAtTarget = isEnded && count > 0 && at == target;
    double shortest = truth.kilometres(source, target);
    boolean counts = isLegal && isAtTarget;
    return new PathScore(
        count,
        legalSteps,
        isLegal,
        isAtTarget,
        isLegal ? kilometres : Double.POSITIVE_INFINITY,
        counts ? kilometres / shortest : Double.POSITIVE_INFINITY,
        counts && kilometres <= shortest + Dijkstra.TIE_KILOMETRES,
        counts && truth.isPath(source, target, generated, from, count),
        count > 0 && generated[from] == truth.firstMove(source, target),
        operations);
  }

  /** Returns whether the path is legal, ends at the target and is at most 10 % too long. */
  public boolean isSolved() {
    return stretch <= SOLVED_STRETCH;
  }

  private static boolean isPlace(CityGraph graph, int node) {
    return node >= 0 && node < graph.size();
  }

  private static int degree(CityGraph graph, int node) {
    return graph.first(node + 1) - graph.first(node);
  }
}
