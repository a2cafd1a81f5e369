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
 * @param type their type, F32 or F64; the initial values of F32 are those of F64, rounded
 * @param products the type that products, attention, recurrent scans and memory that only adds
 *     take: BF16 for parameters of F32, or {@code type}
 * @param prefix what their names begin with
 * @param key the source of the initial values
 */
public record Parameters(Store store, DType type, DType products, String prefix, Key key) {
  /** Checks the types. */
  public Parameters {
    DType.requireArithmetic("parameters: type", type);
    if (products != type && (type != DType.F32 || products != DType.BF16)) {
      throw new IllegalArgumentException(
          "parameters: products is " + products + ", must be " + type + ", or BF16 over F32");
    }
  }

  /** Returns a maker of F32 parameters named from the root. */
  public static Parameters of(Store store, Key key) {
    return of(store, DType.F32, key);
  }

  /** Returns a maker of parameters of a type, named from the root. */
  public static Parameters of(Store store, DType type, Key key) {
    return new Parameters(store, type, type, "", key);
  }

  /**
   * Returns a maker of the same parameters for layers whose products, attention, recurrent scans
   * and memory that only adds take a type. With BF16 they round what is multiplied, sum in F32 and
   * round each result; parameters, their derivatives, norms and everything else stay F32. Source:
   * Kalamkar et al., arXiv:1905.12322.
   *
   * @param products BF16 for parameters of F32, or the parameters' type
   */
  public Parameters withProducts(DType products) {
    return new Parameters(store, type, products, prefix, key);
  }

  /** Returns a maker of parameters whose names begin with this prefix, {@code part} and a dot. */
  public Parameters in(String part) {
    return new Parameters(store, type, products, prefix + part + ".", key);
  }

  /** Returns a new parameter of normal numbers with mean 0 and that standard deviation. */
  public Tensor normal(String name, double deviation, long... dims) {
    Shape shape = Shape.of(dims);
    double[] values = key.split(prefix + name).normalDoubles(Math.toIntExact(shape.size()));
    for (int i = 0; i < values.length; i++) {
      values[i] *= deviation;
    }
    return of(name, shape, values);
  }

  /** Returns a new parameter of these values. */
  public Tensor of(String name, Shape shape, double... values) {
    try (Scope scope = store.device().open()) {
      return store.add(prefix + name, tensor(scope, shape, values));
    }
  }

  private Tensor tensor(Scope scope, Shape shape, double[] values) {
    if (type == DType.F64) {
      return scope.tensor(shape, values);
    }
    float[] narrow = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      narrow[i] = (float) values[i];
    }
    return scope.tensor(shape, narrow);
  }

  /** Returns a new parameter whose elements all are {@code value}. */
  public Tensor full(String name, double value, long... dims) {
    try (Scope scope = store.device().open()) {
      return store.add(prefix + name, scope.full(type, Shape.of(dims), value));
    }
  }
}
