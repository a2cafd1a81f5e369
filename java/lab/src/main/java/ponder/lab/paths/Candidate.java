// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.Arrays;
import ponder.lab.cities.PathScore;
import ponder.lab.cities.PathTable;
import ponder.lab.cities.PathTokens;
import ponder.lab.decoding.Completion;

/**
 * A path that a model wrote, with what is known of it.
 *
 * @param completion as it was written
 * @param places the places in their order, the source not among them
 * @param score what is right about it
 */
record Candidate(Completion completion, int[] places, PathScore score) {
  /** Judges a completion. */
  static Candidate of(
      PathTable table, PathTokens tokens, int source, int target, Completion completion) {
    int[] places = tokens.places(source, target, completion.tokens());
    boolean whole = completion.ended() && places != null;
    int[] judged = places == null ? reversed(completion.tokens()) : places;
    return new Candidate(
        completion, judged, PathScore.of(table, source, target, judged, 0, judged.length, whole));
  }

  private static int[] reversed(int[] tokens) {
    int[] places = new int[tokens.length];
    Arrays.setAll(places, i -> tokens[tokens.length - 1 - i]);
    return places;
  }

  /** Returns whether the path is legal and ends at the target: what a check of it finds. */
  boolean arrives() {
    return score.isLegal() && score.isAtTarget();
  }

  /** Returns the log-likelihood of the completion. */
  double logLikelihood() {
    return completion.logLikelihood();
  }
}
