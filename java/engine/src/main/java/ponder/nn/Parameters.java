// SPDX-License-Identifier: Apache-2.0
package ponder.nn;

import ponder.DType;
import ponder.Key;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;

/**
 * Makes the parameters of a model: each has a name in the store and initial values that depend on
 * the key and that name alone, so that adding a layer does not change the others.
 *
 * @param store where the parameters live
 * @param prefix what their names begin with
 * @param key the source of the initial values
 */
public record Parameters(Store store, String prefix, Key key) {
  /** Returns a maker of parameters named from the root. */
  public static Parameters of(Store store, Key key) {
    return new Parameters(store, "", key);
  }

  /** Returns a maker of parameters whose names begin with this prefix, {@code part} and a dot. */
  public Parameters in(String part) {
    return new Parameters(store, prefix + part + ".", key);
  }

  /** Returns a new F32 parameter of normal numbers with mean 0 and that standard deviation. */
  public Tensor normal(String name, double deviation, long... dims) {
    Shape shape = Shape.of(dims);
    float[] values = new float[Math.toIntExact(shape.size())];
    double[] normal = key.split(prefix + name).normalDoubles(values.length);
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (deviation * normal[i]);
    }
    try (Scope scope = store.device().open()) {
      return store.add(prefix + name, scope.tensor(shape, values));
    }
  }

  /** Returns a new F32 parameter whose elements all are {@code value}. */
  public Tensor full(String name, double value, long... dims) {
    try (Scope scope = store.device().open()) {
      return store.add(prefix + name, scope.full(DType.F32, Shape.of(dims), value));
    }
  }
}
