// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.nn.Memory;
import ponder.nn.SequenceModel;
import ponder.op.Softmax;

/**
 * Lets a model write, token by token, from what it carries in memory: no prefix is read twice. A
 * prompt that is completed several times is read once. What the device does is counted by its
 * meter.
 *
 * @param model the model
 * @param device where its parameters are
 * @param end the token that ends a sequence
 * @param limit the most tokens written, the end token included
 * @param batch how many sequences are written at a time
 */
public record Decoder(SequenceModel model, Device device, int end, int limit, int batch) {
  /** Checks the ranges. */
  public Decoder {
    if (limit < 1 || batch < 1) {
      throw new IllegalArgumentException(
          "decoder: limit " + limit + " and batch " + batch + " must be at least 1");
    }
  }

  /** Chooses the next token of a row from its probabilities. */
  private interface Choice {
    int next(int row, int step, float[] probabilities, int from, int classes);
  }

  /**
   * Completes every prompt with the most probable token at each step, the lowest of equal ones.
   *
   * @param prompts of one length
   */
  public List<Completion> greedy(int[][] prompts) {
    return completions(prompts, 1, (row, step, p, from, classes) -> largest(p, from, classes));
  }

  /**
   * Completes every prompt several times with tokens drawn from the model. The draws of a
   * completion depend on the key, the prompt's place and its own number alone.
   *
   * @param prompts of one length
   * @param count how often each is completed
   * @return completion j of prompt i at i * count + j
   */
  public List<Completion> sample(int[][] prompts, int count, Key key) {
    double[][] draws = new double[prompts.length * count][];
    for (int i = 0; i < draws.length; i++) {
      draws[i] = key.split(i / count).split(i % count).uniformDoubles(limit);
    }
    return completions(
        prompts, count, (row, step, p, from, classes) -> drawn(p, from, classes, draws[row][step]));
  }

  private List<Completion> completions(int[][] prompts, int count, Choice choice) {
    int rows = prompts.length * count;
    Completion[] done = new Completion[rows];
    for (int first = 0; first < rows; first += batch) {
      try (Scope scope = device.openUnrecorded()) {
        complete(scope, prompts, count, first, Math.min(batch, rows - first), choice, done);
      }
    }
    return Arrays.asList(done);
  }

  /** Writes rows first .. first + n - 1, of which row r completes prompt r / count. */
  private void complete(
      Scope scope, int[][] prompts, int count, int first, int n, Choice choice, Completion[] done) {
    int firstPrompt = first / count;
    int lastPrompt = (first + n - 1) / count;
    int length = prompts[firstPrompt].length;
    int[] tokens = new int[(lastPrompt - firstPrompt + 1) * length];
    for (int i = firstPrompt; i <= lastPrompt; i++) {
      System.arraycopy(prompts[i], 0, tokens, (i - firstPrompt) * length, length);
    }
    SequenceModel.Reading reading =
        model.read(scope.indices(Shape.of(tokens.length / length, length), tokens), Memory.EMPTY);
    // The last position of each prompt, then one row for each of its completions.
    int[] source = new int[n];
    for (int i = 0; i < n; i++) {
      source[i] = (first + i) / count - firstPrompt;
    }
    Tensor rows = scope.indices(Shape.of(n), source);
    Tensor hidden = last(reading.hidden()).gather(rows);
    Memory memory = reading.memory().rows(rows);

    Draft[] alive = new Draft[n];
    for (int i = 0; i < n; i++) {
      alive[i] = new Draft(first + i);
    }
    for (int step = 0; alive.length > 0; step++) {
      float[] p = Softmax.softmax(hidden.matmul(model.output(), false, true)).toFloats();
      int classes = p.length / alive.length;
      List<Draft> next = new ArrayList<>(alive.length);
      int[] kept = new int[alive.length];
      int[] written = new int[alive.length];
      for (int i = 0; i < alive.length; i++) {
        Draft draft = alive[i];
        int token = choice.next(draft.row, step, p, i * classes, classes);
        draft.logLikelihood += Math.log(p[i * classes + token]);
        if (token == end || step + 1 == limit) {
          done[draft.row] = draft.completion(token, token == end);
        } else {
          draft.tokens[draft.size++] = token;
          kept[next.size()] = i;
          written[next.size()] = token;
          next.add(draft);
        }
      }
      int left = next.size();
      if (left == 0) {
        return;
      }
      if (left < alive.length) {
        memory = memory.rows(scope.indices(Shape.of(left), Arrays.copyOf(kept, left)));
      }
      alive = next.toArray(Draft[]::new);
      reading = model.read(scope.indices(Shape.of(left, 1), Arrays.copyOf(written, left)), memory);
      hidden = last(reading.hidden());
      memory = reading.memory();
    }
  }

  /** Returns the last step of [batch, steps, width] as [batch, width]. */
  private static Tensor last(Tensor hidden) {
    long[] dims = hidden.shape().dims();
    return hidden.slice(1, dims[1] - 1, 1).reshape(dims[0], dims[2]);
  }

  private static int largest(float[] p, int from, int classes) {
    int best = 0;
    for (int c = 1; c < classes; c++) {
      if (p[from + c] > p[from + best]) {
        best = c;
      }
    }
    return best;
  }

  private static int drawn(float[] p, int from, int classes, double uniform) {
    double total = 0;
    for (int c = 0; c < classes; c++) {
      total += p[from + c];
    }
    double rest = uniform * total;
    int last = 0;
    for (int c = 0; c < classes; c++) {
      if (p[from + c] > 0) {
        last = c;
        rest -= p[from + c];
        if (rest < 0) {
          return c;
        }
      }
    }
    return last;
  }

  /** A sequence being written. */
  private final class Draft {
    final int row;
    final int[] tokens = new int[limit];
    int size;
    double logLikelihood;

    Draft(int row) {
      this.row = row;
    }

    Completion completion(int token, boolean ended) {
      if (!ended) {
        tokens[size++] = token;
      }
      return new Completion(Arrays.copyOf(tokens, size), logLikelihood, ended);
    }
  }
}
