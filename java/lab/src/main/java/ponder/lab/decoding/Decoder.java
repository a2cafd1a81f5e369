// SPDX-License-Identifier: Apache-2.0
package ponder.lab.decoding;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import ponder.Device;
import ponder.Key;
import ponder.Scope;
import ponder.Work;
import ponder.nn.SequenceModel;

/**
 * Lets a model write, token by token, from what it carries in memory: no prefix is read twice. A
 * prompt that is completed several times is read once.
 *
 * @param model the model
 * @param device where its parameters are
 * @param end the token that ends a sequence
 * @param limit the most tokens written, the end token included
 * @param batch how many sequences are written at a time
 * @param constraint which tokens may follow
 */
public record Decoder(
    SequenceModel model, Device device, int end, int limit, int batch, Constraint constraint) {
  /** Checks the ranges. */
  public Decoder {
    if (limit < 1 || batch < 1) {
      throw new IllegalArgumentException(
          "decoder: limit " + limit + " and batch " + batch + " must be at least 1");
    }
  }

  /** Lets anything follow. */
  public Decoder(SequenceModel model, Device device, int end, int limit, int batch) {
    this(model, device, end, limit, batch, Constraint.NONE);
  }

  /** Chooses the next token of a draft from its probabilities, -1 if none is above zero. */
  private interface Choice {
    int next(Draft draft, float[] probabilities, int from, int classes);
  }

  /**
   * Completes every prompt with the most probable token at each step, the lowest of equal ones. A
   * completion to which no token can be added is unfinished.
   *
   * @param prompts of one length
   */
  public Written greedy(int[][] prompts) {
    return completions(prompts, 1, (draft, p, from, classes) -> largest(p, from, classes));
  }

  /**
   * Completes every prompt several times with tokens drawn from the model's probabilities, raised
   * to the power of 1 / temperature. The draws of a completion depend on the key, the prompt's
   * place and its own number alone.
   *
   * @param prompts of one length
   * @param count how often each is completed, at least once
   * @param temperature above 0; near 0 it is greedy, 1 draws from the model itself
   */
  public Written sample(int[][] prompts, int count, double temperature, Key key) {
    if (count < 1 || !(temperature > 0)) {
      throw new IllegalArgumentException(
          "sample: count %d must be at least 1, temperature %s above 0"
              .formatted(count, temperature));
    }
    double[][][] draws = new double[prompts.length][count][];
    for (int i = 0; i < prompts.length; i++) {
      for (int j = 0; j < count; j++) {
        draws[i][j] = key.split(i).split(j).uniformDoubles(limit);
      }
    }
    return completions(
        prompts,
        count,
        (draft, p, from, classes) ->
            drawn(p, from, classes, temperature, draws[draft.prompt][draft.number][draft.size]));
  }

  /** Draws at temperature 1. */
  public Written sample(int[][] prompts, int count, Key key) {
    return sample(prompts, count, 1, key);
  }

  /**
   * Searches for the most likely completions of every prompt: at each step the {@code width} most
   * likely unfinished ones go on, until none of them can still be among the {@code width} most
   * likely finished ones. With width 1 the result is the most likely place to end on the greedy
   * path; a wider beam may lose that path to beginnings that are likelier and end worse. A prompt's
   * rows are written together, be they more than a batch.
   *
   * @param prompts of one length
   * @param width how many go on, at least 1
   * @return at most {@code width} completions of each prompt, the most likely first; where none was
   *     finished, the most likely unfinished one
   */
  public Written beam(int[][] prompts, int width) {
    if (width < 1) {
      throw new IllegalArgumentException("beam: width is " + width + ", must be at least 1");
    }
    int together = Math.max(1, batch / width);
    List<List<Completion>> done = new ArrayList<>();
    long reading = 0;
    long writing = 0;
    for (int first = 0; first < prompts.length; first += together) {
      int[][] some = Arrays.copyOfRange(prompts, first, Math.min(prompts.length, first + together));
      try (Scope scope = device.openUnrecorded()) {
        Work before = device.meter().total();
        Hand hand = new Hand(model, scope, some);
        Work read = device.meter().total();
        Beam beam = new Beam(this, some, width);
        long chosen = beam.run(hand);
        done.addAll(beam.completions());
        reading += read.minus(before).flops();
        writing += device.meter().since(read).flops() + chosen;
      }
    }
    return new Written(done, reading, writing);
  }

  private Written completions(int[][] prompts, int count, Choice choice) {
    int rows = prompts.length * count;
    Completion[] done = new Completion[rows];
    long reading = 0;
    long writing = 0;
    for (int first = 0; first < rows; first += batch) {
      try (Scope scope = device.openUnrecorded()) {
        int n = Math.min(batch, rows - first);
        int firstPrompt = first / count;
        Work before = device.meter().total();
        Hand hand =
            new Hand(
                model,
                scope,
                Arrays.copyOfRange(prompts, firstPrompt, (first + n - 1) / count + 1));
        Work read = device.meter().total();
        // A prompt whose completions are written in several batches is charged once.
        boolean charged = first % count != 0;
        Draft[] drafts = new Draft[n];
        int[] source = new int[n];
        for (int i = 0; i < n; i++) {
          drafts[i] = new Draft((first + i) / count, (first + i) % count);
          source[i] = (first + i) / count - firstPrompt;
        }
        hand.choose(source);
        long chosen = complete(hand, prompts, drafts, choice, done, count);
        int readPrompts = (first + n - 1) / count + 1 - firstPrompt;
        long flops = read.minus(before).flops();
        reading += charged ? flops - flops / readPrompts : flops;
        writing += device.meter().since(read).flops() + chosen;
      }
    }
    List<List<Completion>> lists = new ArrayList<>();
    for (int i = 0; i < prompts.length; i++) {
      lists.add(List.of(Arrays.copyOfRange(done, i * count, (i + 1) * count)));
    }
    return new Written(lists, reading, writing);
  }

  /** Writes the drafts to their end and returns the operations that choosing took. */
  private long complete(
      Hand hand, int[][] prompts, Draft[] alive, Choice choice, Completion[] done, int count) {
    long operations = 0;
    while (alive.length > 0) {
      float[] p = hand.probabilities();
      int classes = p.length / alive.length;
      operations += p.length;
      List<Draft> next = new ArrayList<>(alive.length);
      int[] kept = new int[alive.length];
      int[] written = new int[alive.length];
      for (int i = 0; i < alive.length; i++) {
        Draft draft = alive[i];
        int from = i * classes;
        operations +=
            constraint.narrow(prompts[draft.prompt], draft.tokens, draft.size, p, from, classes);
        int token = choice.next(draft, p, from, classes);
        boolean stuck = token < 0;
        boolean ended = !stuck && token == end;
        if (!stuck) {
          draft.logLikelihood += Math.log(p[from + token]);
        }
        if (!stuck && !ended) {
          draft.add(token);
        }
        if (stuck || ended || draft.size == limit) {
          done[draft.prompt * count + draft.number] = draft.completion(ended);
        } else {
          kept[next.size()] = i;
          written[next.size()] = token;
          next.add(draft);
        }
      }
      int left = next.size();
      if (left > 0) {
        if (left < alive.length) {
          hand.choose(Arrays.copyOf(kept, left));
        }
        hand.write(Arrays.copyOf(written, left));
      }
      alive = next.toArray(Draft[]::new);
    }
    return operations;
  }

  private static int largest(float[] p, int from, int classes) {
    int best = -1;
    float most = 0;
    for (int c = 0; c < classes; c++) {
      if (p[from + c] > most) {
        best = c;
        most = p[from + c];
      }
    }
    return best;
  }

  private static int drawn(float[] p, int from, int classes, double temperature, double uniform) {
    int best = largest(p, from, classes);
    if (best < 0) {
      return best;
    }
    double most = p[from + best];
    double[] weights = new double[classes];
    double total = 0;
    for (int c = 0; c < classes; c++) {
      weights[c] = heated(p[from + c], most, temperature);
      total += weights[c];
    }
    double rest = uniform * total;
    int last = best;
    for (int c = 0; c < classes; c++) {
      if (weights[c] > 0) {
        last = c;
        rest -= weights[c];
        if (rest < 0) {
          return c;
        }
      }
    }
    return last;
  }

  /** Returns p at temperature 1, else (p / most)^(1 / temperature), of which the largest is 1. */
  private static double heated(float p, double most, double temperature) {
    if (temperature == 1) {
      return p;
    }
    // At extreme temperatures the exponent is 0 or infinite.
    if (p == 0 || p == most) {
      return p == 0 ? 0 : 1;
    }
    return Math.pow(p / most, 1 / temperature);
  }
}
