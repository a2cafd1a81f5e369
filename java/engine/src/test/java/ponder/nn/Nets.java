// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.provider.Arguments;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;
import ponder.TestDevices;

/** The kinds of sequence models, small, and tokens to read. */
public enum Nets {
  /** Two blocks, width 12, three heads. */
  TRANSFORMER {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return Transformer.create(parameters, vocabulary, 2, 12, 3);
    }
  },
  /** Two blocks, width 16, four heads that share two of keys and see five steps. */
  SHARED {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      Heads heads = Heads.of(4).withKvHeads(2).withWindow(5);
      return Transformer.create(parameters, vocabulary, 2, 16, heads);
    }
  },
  /** One block, width 12, three heads, applied three times. */
  LOOPED {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return LoopedTransformer.create(parameters, vocabulary, 1, 12, 3, 3);
    }
  },
  /** Two blocks, width 12, three heads that see three steps, four reads of all. */
  MEMORY {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return MemoryModel.create(parameters, vocabulary, 2, 12, Heads.of(3).withWindow(3), 4);
    }
  },
  /** Two layers, width 12, three heads, one memory of all layers. */
  FEEDBACK {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return FeedbackTransformer.create(parameters, vocabulary, 2, 12, Heads.of(3));
    }
  },
  /** Two blocks, width 12, three heads, segments of five steps and three vectors between them. */
  TOKENS {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return MemoryTokens.create(parameters, vocabulary, 2, 12, Heads.of(3), 3, 5);
    }
  },
  /** Two layers, width 7. */
  GRU {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return GruModel.create(parameters, vocabulary, 2, 7);
    }
  },
  /** Two layers, width 7. */
  LSTM {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return LstmModel.create(parameters, vocabulary, 2, 7);
    }
  },
  /** Two blocks, width 12, three heads of means over all steps. */
  LINEAR {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return FastWeightsModel.create(
          parameters, FastWeightsBlock.Rule.LINEAR, vocabulary, 2, 12, 3);
    }
  },
  /** The same with decaying sums. */
  GATED {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return FastWeightsModel.create(parameters, FastWeightsBlock.Rule.GATED, vocabulary, 2, 12, 3);
    }
  },
  /** The same with the delta rule. */
  DELTA {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return FastWeightsModel.create(parameters, FastWeightsBlock.Rule.DELTA, vocabulary, 2, 12, 3);
    }
  },
  /** The same with the delta rule and a decay. */
  GATED_DELTA {
    @Override
    public SequenceModel create(Parameters parameters, long vocabulary) {
      return FastWeightsModel.create(
          parameters, FastWeightsBlock.Rule.GATED_DELTA, vocabulary, 2, 12, 3);
    }
  };

  /** Returns a new model of this kind. */
  public abstract SequenceModel create(Parameters parameters, long vocabulary);

  /** Returns every kind on every device. */
  static List<Arguments> everywhere() {
    return TestDevices.names().stream()
        .flatMap(device -> Stream.of(values()).map(net -> Arguments.of(device, net)))
        .toList();
  }

  /** Returns random tokens [batch, steps] below a bound. */
  static int[] tokens(long seed, int batch, int steps, int vocabulary) {
    return Key.of(seed).split("tokens").ints(batch * steps, vocabulary);
  }

  /** Returns the columns from, inclusive, to, exclusive, of [batch, steps] tokens. */
  static Tensor columns(Scope scope, int[] tokens, int batch, int from, int to) {
    int steps = tokens.length / batch;
    int[] part = new int[batch * (to - from)];
    for (int b = 0; b < batch; b++) {
      System.arraycopy(tokens, b * steps + from, part, b * (to - from), to - from);
    }
    return scope.indices(Shape.of(batch, to - from), part);
  }
}
