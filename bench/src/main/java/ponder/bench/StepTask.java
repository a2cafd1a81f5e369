// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import ponder.DType;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.cases.Type;
import ponder.lab.paths.PathObjective;
import ponder.nn.Parameters;
import ponder.nn.Transformer;

/** What a training step is timed on: models that are made anew, and their batches. */
interface StepTask {
  /** The loss of a model on the batch of a step. */
  interface Loss {
    Tensor of(Scope scope, long step);
  }

  /** Returns the loss of a new model whose parameters live in a store. */
  Loss create(Store parameters);

  /** Returns the number of batches that a step's work is the mean of. */
  int batches();

  /** Returns the tokens of a batch, on average. */
  long tokens();

  /**
   * A transformer and one batch. Of bf16 it is mixed: products and attention in bf16, parameters and
   * everything else in f32.
   */
  record OneBatch(Row row) implements StepTask {
    @Override
    public Loss create(Store parameters) {
      int vocabulary = row.size("vocabulary");
      DType products = row.type() == Type.BF16 ? DType.BF16 : DType.F32;
      Transformer model =
          Transformer.create(
              Parameters.of(parameters, Key.of(1)).withProducts(products),
              vocabulary,
              row.size("layers"),
              row.size("width"),
              row.size("heads"));
      int[] tokens = Key.of(2).ints(Math.toIntExact(tokens()), vocabulary);
      Shape shape = Shape.of(row.size("batch"), row.size("steps"));
      return (scope, step) -> {
        Tensor batch = scope.indices(shape, tokens);
        return model.losses(batch, batch).mean();
      };
    }

    @Override
    public int batches() {
      return 1;
    }

    @Override
    public long tokens() {
      return (long) row.size("batch") * row.size("steps");
    }
  }

  /** A model of the budget rows and the batches of its training, as many as are sorted together. */
  record Budgeted(BudgetTask task, BudgetModel of) implements StepTask {
    @Override
    public Loss create(Store parameters) {
      PathObjective objective = task.objective(of, 0, task.create(of, 0, parameters));
      return objective::loss;
    }

    @Override
    public int batches() {
      return 32;
    }

    @Override
    public long tokens() {
      return Math.round(task.tokensPerBatch());
    }
  }
}
