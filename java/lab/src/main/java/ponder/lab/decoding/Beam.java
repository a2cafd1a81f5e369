// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.PriorityQueue;

/** The search for the most likely completions of several prompts, step by step side by side. */
final class Beam {
  // Of equally likely ends the shorter stays, of equally long ones that of the lower tokens.
  private static final Comparator<Draft> WORST_END_FIRST =
      Comparator.comparingDouble((Draft draft) -> draft.logLikelihood)
          .thenComparing((a, b) -> Integer.compare(b.size, a.size))
          .thenComparing((a, b) -> Arrays.compare(b.tokens, 0, b.size, a.tokens, 0, a.size));

  /** A token that could be written after a draft. */
  private record Step(int row, Draft draft, int token, double logLikelihood) {}

  // Of equally likely steps the earlier row and the lower token stay.
  private static final Comparator<Step> WORST_FIRST =
      Comparator.comparingDouble(Step::logLikelihood)
          .thenComparing(Step::row, Comparator.reverseOrder())
          .thenComparing(Step::token, Comparator.reverseOrder());

  private final Decoder decoder;
  private final int[][] prompts;
  private final int width;
  private final List<PriorityQueue<Draft>> finished = new ArrayList<>();
  private final Draft[] unfinished;

  Beam(Decoder decoder, int[][] prompts, int width) {
    this.decoder = decoder;
    this.prompts = prompts;
    this.width = width;
    for (int i = 0; i < prompts.length; i++) {
      finished.add(new PriorityQueue<>(WORST_END_FIRST));
    }
    unfinished = new Draft[prompts.length];
  }

  /** Runs to the end and returns the operations that choosing took. */
  long run(Hand hand) {
    List<Draft> alive = new ArrayList<>();
    for (int i = 0; i < prompts.length; i++) {
      alive.add(new Draft(i, 0));
    }
    long operations = 0;
    for (int step = 0; !alive.isEmpty(); step++) {
      float[] p = hand.probabilities();
      operations += p.length;
      List<PriorityQueue<Step>> best = new ArrayList<>();
      for (int i = 0; i < prompts.length; i++) {
        best.add(new PriorityQueue<>(WORST_FIRST));
      }
      int classes = p.length / alive.size();
      for (int row = 0; row < alive.size(); row++) {
        Draft draft = alive.get(row);
        operations +=
            decoder
                .constraint()
                .narrow(prompts[draft.prompt], draft.tokens, draft.size, p, row * classes, classes);
        extend(row, draft, p, row * classes, classes, best.get(draft.prompt));
      }
      List<Draft> next = new ArrayList<>();
      List<Integer> rows = new ArrayList<>();
      for (int i = 0; i < prompts.length; i++) {
        List<Step> steps = new ArrayList<>(best.get(i));
        steps.sort(WORST_FIRST.reversed());
        for (Step s : steps) {
          if (s.logLikelihood <= floor(i)) {
            continue;
          }
          Draft longer = s.draft.and(s.token, s.logLikelihood);
          if (step + 1 == decoder.limit()) {
            stop(longer);
          } else {
            next.add(longer);
            rows.add(s.row);
          }
        }
      }
      alive = next;
      if (!alive.isEmpty()) {
        hand.choose(rows.stream().mapToInt(Integer::intValue).toArray());
        hand.write(alive.stream().mapToInt(d -> d.tokens[d.size - 1]).toArray());
      }
    }
    return operations;
  }

  /** Returns what a draft must exceed: the least likely of enough finished ones. */
  private double floor(int prompt) {
    PriorityQueue<Draft> ends = finished.get(prompt);
    return ends.size() < width ? Double.NEGATIVE_INFINITY : ends.peek().logLikelihood;
  }

  /** Offers every token after a draft: the end to the finished ones, the others to the best. */
  private void extend(
      int row, Draft draft, float[] p, int from, int classes, PriorityQueue<Step> best) {
    double least = least(best, draft);
    boolean stuck = true;
    for (int token = 0; token < classes; token++) {
      float share = p[from + token];
      stuck &= !(share > 0);
      // Most tokens fall here, before any logarithm.
      if (token == decoder.end()) {
        finish(draft, share);
      } else if (share > 0 && share >= least) {
        best.add(new Step(row, draft, token, draft.logLikelihood + Math.log(share)));
        if (best.size() > width) {
          best.remove();
        }
        least = least(best, draft);
      }
    }
    if (stuck) {
      stop(draft);
    }
  }

  /** Keeps the most likely of the drafts that were left unfinished. */
  private void stop(Draft draft) {
    Draft other = unfinished[draft.prompt];
    if (other == null || draft.logLikelihood > other.logLikelihood) {
      unfinished[draft.prompt] = draft;
    }
  }

  /**
   * Returns a probability below which no token after a draft is among the best, small enough that
   * the rounding of logarithm and exponential excludes none.
   */
  private double least(PriorityQueue<Step> best, Draft draft) {
    return best.size() < width
        ? 0
        : (1 - 1e-9) * Math.exp(best.peek().logLikelihood - draft.logLikelihood);
  }

  private void finish(Draft draft, float share) {
    double likelihood = draft.logLikelihood + Math.log(share);
    if (share > 0 && likelihood >= floor(draft.prompt)) {
      PriorityQueue<Draft> ends = finished.get(draft.prompt);
      ends.add(draft.at(likelihood));
      if (ends.size() > width) {
        ends.remove();
      }
    }
  }

  /** Returns the completions of every prompt, the most likely first. */
  List<List<Completion>> completions() {
    List<List<Completion>> all = new ArrayList<>();
    for (int i = 0; i < prompts.length; i++) {
      List<Draft> ends = new ArrayList<>(finished.get(i));
      ends.sort(WORST_END_FIRST.reversed());
      if (ends.isEmpty()) {
        all.add(List.of(unfinished[i].completion(false)));
      } else {
        all.add(ends.stream().map(draft -> draft.completion(true)).toList());
      }
    }
    return all;
  }
}
