// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;
import ponder.Key;

/**
 * Sentences of equal length, as numbers of words.
 *
 * @param name what they are of
 * @param sentences each of the same number of words
 * @param words how many words there are; the mask token comes after them
 */
public record Corpus(String name, List<int[]> sentences, int words) {
  private static final int LENGTH = 10;
  private static final int MOST_WORDS = 255;
  private static final Pattern WORD = Pattern.compile("[\\p{L}\\p{N}']+|[.,;:!?]");

  /** Returns the language whose sentences are all known. */
  public static Corpus grammar() {
    return Language.corpus();
  }

  /**
   * Returns the runs of ten words of a text, one after another. Rarer words than the 255 most
   * frequent are one word; lines do not matter.
   *
   * @throws IOException if the file cannot be read or has fewer than 1,000 words
   */
  public static Corpus text(Path file) throws IOException {
    List<String> text = new ArrayList<>();
    var match = WORD.matcher(Files.readString(file).toLowerCase(java.util.Locale.ROOT));
    while (match.find()) text.add(match.group());
    if (text.size() < 1_000) {
      throw new IOException(file + " has " + text.size() + " words; 1,000 are needed");
    }
    Map<String, Integer> counts = new HashMap<>();
    for (String word : text) counts.merge(word, 1, Integer::sum);
    Map<String, Integer> numbers = new HashMap<>();
    counts.entrySet().stream()
        .sorted(
            Map.Entry.<String, Integer>comparingByValue(Comparator.reverseOrder())
                .thenComparing(Map.Entry.comparingByKey()))
        .limit(MOST_WORDS)
        .forEach(entry -> numbers.put(entry.getKey(), numbers.size()));
    List<int[]> sentences = new ArrayList<>();
    for (int at = 0; at + LENGTH <= text.size(); at += LENGTH) {
      sentences.add(
          text.subList(at, at + LENGTH).stream()
              .mapToInt(word -> numbers.getOrDefault(word, numbers.size()))
              .toArray());
    }
    return new Corpus(file.getFileName().toString(), sentences, numbers.size() + 1);
  }

  /** Returns how many words a sentence has. */
  public int length() {
    return sentences.getFirst().length;
  }

  /** Returns the number of the mask token. */
  public int mask() {
    return words;
  }

  /** Returns the number of tokens, the mask included. */
  public int vocabulary() {
    return words + 1;
  }

  /** Returns so many sentences drawn at random, one after another. */
  int[] draw(Key key, int count) {
    int[] chosen = key.ints(count, sentences.size());
    return Arrays.stream(chosen).mapToObj(sentences::get).flatMapToInt(Arrays::stream).toArray();
  }
}
