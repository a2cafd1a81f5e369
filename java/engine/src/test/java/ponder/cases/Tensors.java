// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import java.util.Arrays;
import java.util.List;
import ponder.DType;
import ponder.Scope;
import ponder.Shape;
import ponder.Tensor;

/** The arrays of calls as tensors. */
public final class Tensors {
  private Tensors() {}

  /** Returns the inputs of a call's op, null where the row gives none. */
  public static Tensor[] inputs(Scope scope, Call call) {
    List<String> names = call.owner().inputs();
    var in = new Tensor[names.size()];
    for (int i = 0; i < in.length; i++) {
      Array array = call.array(names.get(i));
      if (array != null) {
        in[i] = of(scope, array.type(), Shape.of(array.shape()), array.values());
      }
    }
    return in;
  }

  /** Returns a tensor of these values, rounded to its type. */
  public static Tensor of(Scope scope, Type type, Shape shape, double[] values) {
    return switch (type) {
      case F64 -> scope.tensor(shape, values);
      case F32 -> {
        var floats = new float[values.length];
        for (int i = 0; i < floats.length; i++) floats[i] = (float) values[i];
        yield scope.tensor(shape, floats);
      }
      case BF16 -> of(scope, Type.F32, shape, values).cast(DType.BF16);
      case I32 -> scope.indices(shape, Arrays.stream(values).mapToInt(v -> (int) v).toArray());
      // As pairs of I32, the lower half first.
      case I64 ->
          scope.indices(
              Shape.of(2 * shape.size()),
              Arrays.stream(values)
                  .mapToLong(v -> (long) v)
                  .mapToObj(v -> new int[] {(int) v, (int) (v >>> 32)})
                  .flatMapToInt(Arrays::stream)
                  .toArray());
    };
  }
}
