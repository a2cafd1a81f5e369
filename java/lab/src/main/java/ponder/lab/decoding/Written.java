// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import java.util.List;

/**
 * What a model wrote after some prompts, and what that cost.
 *
 * @param completions for each prompt its completions
 * @param readingFlops spent on the prompts
 * @param writingFlops spent on the tokens, and on choosing them: one operation for each probability
 *     looked at, and those of the constraint
 */
public record Written(List<List<Completion>> completions, long readingFlops, long writingFlops) {
  /** Makes a value with an own copy of the list. */
  public Written {
    completions = List.copyOf(completions);
  }

  /** Returns the completions of a prompt. */
  public List<Completion> of(int prompt) {
    return completions.get(prompt);
  }

  /**
   * Returns the FLOPs per prompt of reading it and writing {@code count} of its {@code drawn}
   * completions, each of which costs the same on average.
   */
  public double flopsPerPrompt(int count, int drawn) {
    return (readingFlops + (double) writingFlops * count / drawn) / completions.size();
  }

  /** Returns all FLOPs per prompt. */
  public double flopsPerPrompt() {
    return flopsPerPrompt(1, 1);
  }
}
