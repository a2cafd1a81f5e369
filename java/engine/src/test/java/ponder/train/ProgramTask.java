// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.util.Arrays;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.nn.Memory;
import ponder.nn.SequenceModel;

/**
 * Small programs of three variables, a token a statement: first each variable is set, then come
 * x++, x = y - 1, if x > y (the next statement is run if it holds) and print x, after which the value
 * of x is to be predicted. Values count modulo 5. What is printed is not read, so that a value is
 * followed through every statement from its start. After the algorithmic task of Fan et al.,
 * arXiv:2002.09402, section 4.1.
 */
final class ProgramTask implements BatchObjective<SequenceModel> {
  private static final int VARIABLES = 3;
  private static final int VALUES = 5;
  private static final int SET = VALUES; // the tokens below are values
  private static final int INCREMENT = SET + VARIABLES * VALUES;
  private static final int COPY = INCREMENT + VARIABLES;
  private static final int IF = COPY + VARIABLES * VARIABLES;
  private static final int PRINT = IF + VARIABLES * VARIABLES;
  static final int VOCABULARY = PRINT + VARIABLES;
  private static final int EXAMS = 4;

  private final SequenceModel model;
  private final Key key;
  private final int batch;
  private final int steps;

  /**
   * Makes a task.
   *
   * @param batch programs in a step of training
   * @param steps statements of a program
   */
  ProgramTask(SequenceModel model, Key key, int batch, int steps) {
    this.model = model;
    this.key = key;
    this.batch = batch;
    this.steps = steps;
  }

  @Override
  public Batch<SequenceModel> batch(long step) {
    return batch(key.split("train").split(step));
  }

  private Batch<SequenceModel> batch(Key data) {
    Programs programs = programs(data);
    Shape shape = Shape.of(batch, steps);
    return Batch.of(model).with(shape, programs.tokens).with(shape, programs.targets);
  }

  /** Of a value printed, of which there is one in five statements. */
  @Override
  public Tensor loss(SequenceModel model, Tensor... arrays) {
    return model.losses(arrays[0], arrays[1]).sum().scale(5.0 / (batch * steps));
  }

  @Override
  public double validation(Scope scope) {
    return loss(model, batch(key.split("validation")).of(scope)).item();
  }

  /** Returns the share of values printed in the programs' second halves that the model knows. */
  double known(Scope scope) {
    int printed = 0;
    int known = 0;
    for (int exam = 0; exam < EXAMS; exam++) {
      Programs programs = programs(key.split("exam").split(exam));
      Tensor tokens = scope.indices(Shape.of(batch, steps), programs.tokens);
      Tensor hidden = model.read(tokens, Memory.EMPTY).hidden();
      double[] logits = hidden.matmul(model.output(), false, true).toDoubles();
      for (int i = 0; i < programs.targets.length; i++) {
        if (programs.targets[i] < 0 || i % steps < steps / 2) continue;
        printed++;
        int best = 0;
        for (int v = 1; v < VALUES; v++) {
          if (logits[i * VOCABULARY + v] > logits[i * VOCABULARY + best]) best = v;
        }
        if (best == programs.targets[i]) known++;
      }
    }
    return (double) known / printed;
  }

  /** Statements and the values printed, [batch, steps]; -1 where none is. */
  private record Programs(int[] tokens, int[] targets) {}

  private Programs programs(Key data) {
    int[] kinds = data.split("kinds").ints(batch * steps, 10);
    int[] firsts = data.split("first").ints(batch * steps, VARIABLES);
    int[] seconds = data.split("second").ints(batch * steps, VARIABLES);
    int[] values = data.split("values").ints(batch * steps, VALUES);
    int[] tokens = new int[batch * steps];
    int[] targets = new int[batch * steps];
    Arrays.fill(targets, -1);
    int[] state = new int[VARIABLES];
    boolean next = true;
    for (int i = 0; i < tokens.length; i++) {
      int x = firsts[i];
      int y = seconds[i];
      int step = i % steps;
      boolean runs = next || step == 0;
      next = true;
      if (step < VARIABLES) {
        tokens[i] = SET + step * VALUES + values[i];
        state[step] = values[i];
      } else if (kinds[i] < 2) {
        tokens[i] = INCREMENT + x;
        if (runs) state[x] = (state[x] + 1) % VALUES;
      } else if (kinds[i] < 5) {
        tokens[i] = COPY + x * VARIABLES + y;
        if (runs) state[x] = (state[y] + VALUES - 1) % VALUES;
      } else if (kinds[i] < 8) {
        tokens[i] = IF + x * VARIABLES + y;
        next = state[x] > state[y];
      } else {
        tokens[i] = PRINT + x;
        targets[i] = state[x];
      }
    }
    return new Programs(tokens, targets);
  }
}
