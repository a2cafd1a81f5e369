// SPDX-License-Identifier: Apache-2.0
package ponder.lab.paths;

import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;
import ponder.Device;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.lab.cities.PathTokens;
import ponder.lab.decoding.Completion;
import ponder.nn.Memory;
import ponder.nn.SequenceModel;

/**
 * A learned score of whole paths: log-likelihood + h . head, where h is the hidden state that a
 * model of its own has after reading the prompt, the path and the end. With a head of zeros it is
 * the likelihood. A path that was not ended scores minus infinity.
 *
 * @param body reads the path
 * @param head [width, 1]
 * @param tokens how paths are written
 */
record PathScorer(SequenceModel body, Tensor head, PathTokens tokens) {
  /**
   * Returns the scores of completions.
   *
   * @param prompts [n], source and target of each
   * @param completions [n], ended ones
   * @return [n, 1]
   */
  Tensor scores(Scope scope, List<int[]> prompts, List<Completion> completions) {
    int n = completions.size();
    int steps = 0;
    for (Completion c : completions) {
      steps = Math.max(steps, PathTokens.PROMPT + c.tokens().length + 1);
    }
    int[] input = new int[n * steps];
    Arrays.fill(input, tokens.pad());
    int[] last = new int[n];
    float[] likelihood = new float[n];
    for (int i = 0; i < n; i++) {
      int[] written = completions.get(i).tokens();
      System.arraycopy(prompts.get(i), 0, input, i * steps, PathTokens.PROMPT);
      System.arraycopy(written, 0, input, i * steps + PathTokens.PROMPT, written.length);
      last[i] = i * steps + PathTokens.PROMPT + written.length;
      input[last[i]] = tokens.end();
      likelihood[i] = (float) completions.get(i).logLikelihood();
    }
    Tensor hidden = body.read(scope.indices(Shape.of(n, steps), input), Memory.EMPTY).hidden();
    long width = hidden.shape().dim(2);
    Tensor ends = hidden.reshape((long) n * steps, width).gather(scope.indices(Shape.of(n), last));
    return ends.matmul(head).add(scope.tensor(Shape.of(n, 1), likelihood));
  }

  /**
   * Returns the scores of completions as numbers, read {@code batch} at a time.
   *
   * @return [n], minus infinity for one that was not ended
   */
  double[] scores(Device device, List<int[]> prompts, List<Completion> completions, int batch) {
    double[] scores = new double[completions.size()];
    Arrays.fill(scores, Double.NEGATIVE_INFINITY);
    // Paths of one length side by side: little is padded.
    int[] ended =
        IntStream.range(0, scores.length)
            .filter(i -> completions.get(i).ended())
            .boxed()
            .sorted(Comparator.comparingInt(i -> completions.get(i).tokens().length))
            .mapToInt(Integer::intValue)
            .toArray();
    for (int first = 0; first < ended.length; first += batch) {
      int[] some = Arrays.copyOfRange(ended, first, Math.min(ended.length, first + batch));
      try (Scope scope = device.openUnrecorded()) {
        float[] values =
            scores(
                    scope,
                    Arrays.stream(some).mapToObj(prompts::get).toList(),
                    Arrays.stream(some).mapToObj(completions::get).toList())
                .toFloats();
        for (int i = 0; i < some.length; i++) {
          scores[some[i]] = values[i];
        }
      }
    }
    return scores;
  }
}
