// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import java.util.ArrayList;
import java.util.List;

/**
 * A small language whose sentences can all be listed: ten words, three noun phrases, one of them in
 * a relative clause, determiners and verbs that agree with their nouns in number.
 *
 * <pre>
 *   this cat that those dogs see runs a bird .      determiner noun that determiner noun verb
 *                                                   verb determiner noun stop
 * </pre>
 *
 * What stands at one position tells of others, the more the fewer of these are masked: so losses of
 * masked words interact, as those of a text do.
 */
final class Language {
  private static final int DETERMINERS = 2;
  private static final int NOUNS = 4;
  private static final int VERBS = 3;
  private static final int NUMBERS = 2;
  private static final int FIRST_NOUN = NUMBERS * DETERMINERS;
  private static final int FIRST_VERB = FIRST_NOUN + NUMBERS * NOUNS;
  private static final int THAT = FIRST_VERB + NUMBERS * VERBS;

  private static final int STOP = THAT + 1;

  private Language() {}

  /** Returns every sentence once, 36,864 of ten words: numbers, then words, count upwards. */
  static Corpus corpus() {
    List<int[]> all = new ArrayList<>();
    int[] sizes = {
      NUMBERS,
      NUMBERS,
      NUMBERS,
      DETERMINERS,
      DETERMINERS,
      DETERMINERS,
      NOUNS,
      NOUNS,
      NOUNS,
      VERBS,
      VERBS
    };
    int[] choice = new int[sizes.length];
    int at;
    do {
      all.add(sentence(choice));
      at = sizes.length - 1;
      while (at >= 0 && ++choice[at] == sizes[at]) choice[at--] = 0;
    } while (at >= 0);
    return new Corpus("grammar", all, STOP + 1);
  }

  private static int[] sentence(int... c) {
    int main = c[0];
    int inner = c[1];
    int object = c[2];
    return new int[] {
      main * DETERMINERS + c[3],
      FIRST_NOUN + main * NOUNS + c[6],
      THAT,
      inner * DETERMINERS + c[4],
      FIRST_NOUN + inner * NOUNS + c[7],
      FIRST_VERB + inner * VERBS + c[9],
      FIRST_VERB + main * VERBS + c[10],
      object * DETERMINERS + c[5],
      FIRST_NOUN + object * NOUNS + c[8],
      STOP
    };
  }
}
