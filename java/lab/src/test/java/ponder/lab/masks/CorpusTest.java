// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.HashSet;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Sentences of the grammar and of texts. */
class CorpusTest {
  @Test
  void theGrammarListsEachSentenceOnce() {
    Corpus grammar = Corpus.grammar();
    assertEquals(36_864, grammar.sentences().size());
    var different = new HashSet<String>();
    var words = new HashSet<Integer>();
    for (int[] sentence : grammar.sentences()) {
      assertEquals(10, sentence.length);
      different.add(Arrays.toString(sentence));
      Arrays.stream(sentence).forEach(words::add);
      // Determiner, noun and verb agree: the main clause's, the relative clause's.
      assertEquals(sentence[0] / 2, (sentence[1] - 4) / 4);
      assertEquals(sentence[0] / 2, (sentence[6] - 12) / 3);
      assertEquals(sentence[3] / 2, (sentence[4] - 4) / 4);
      assertEquals(sentence[3] / 2, (sentence[5] - 12) / 3);
      assertEquals(sentence[7] / 2, (sentence[8] - 4) / 4);
    }
    assertEquals(36_864, different.size());
    assertEquals(grammar.words(), words.size());
    assertTrue(words.stream().allMatch(word -> word >= 0 && word < grammar.mask()));
  }

  @Test
  void aTextIsCutIntoRunsOfTenWords(@TempDir Path folder) throws IOException {
    Path file = folder.resolve("text.txt");
    Files.writeString(file, "The cat, the dog;\n THE bird. ".repeat(130));
    Corpus text = Corpus.text(file);
    // Nine words and stops each time; "the" is the most frequent, then by the alphabet.
    assertEquals(117, text.sentences().size());
    assertEquals(8, text.words());
    assertArrayEquals(new int[] {0, 5, 1, 0, 6, 3, 0, 4, 2, 0}, text.sentences().getFirst());
  }

  @Test
  void aTextOfFewWordsIsRefused(@TempDir Path folder) throws IOException {
    Path file = folder.resolve("short.txt");
    Files.writeString(file, "a b c ".repeat(333));
    String message = assertThrows(IOException.class, () -> Corpus.text(file)).getMessage();
    assertTrue(message.contains("has 999 words; 1,000 are needed"), message);
  }
}
