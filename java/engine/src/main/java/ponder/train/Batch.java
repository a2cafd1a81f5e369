// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import ponder.DType;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;

/**
 * What a step reads: arrays, and the program that is applied to them.
 *
 * @param <P> the type of the program
 */
public final class Batch<P> {
  /** An array of ints, floats or doubles with its shape. */
  private record Part(Shape shape, DType type, Object values) {
    Tensor tensor(Scope scope) {
      return switch (values) {
        case int[] ints -> scope.indices(shape, ints);
        case float[] floats -> scope.tensor(shape, floats);
        case double[] doubles -> scope.tensor(shape, doubles);
        default -> throw new AssertionError(values);
      };
    }

    void upload(Store store, String name) {
      switch (values) {
        case int[] ints -> store.upload(name, ints);
        case float[] floats -> store.upload(name, floats);
        case double[] doubles -> store.upload(name, doubles);
        default -> throw new AssertionError(values);
      }
    }
  }

  /** What steps of one graph have in common. */
  private record Kind(Object program, List<Shape> shapes, List<DType> types) {}

  private final P program;
  private final List<Part> parts;

  private Batch(P program, List<Part> parts) {
    this.program = Objects.requireNonNull(program, "batch: program");
    this.parts = parts;
  }

  /**
   * Returns a batch without arrays.
   *
   * @param program what else decides which calls the loss makes: a model, the rounds it goes;
   *     compared by {@code equals}
   */
  public static <P> Batch<P> of(P program) {
    return new Batch<>(program, List.of());
  }

  /** Returns this batch and one more array, of indices, row-major. */
  public Batch<P> with(Shape shape, int... values) {
    return with(new Part(shape, DType.I32, values));
  }

  /** Returns this batch and one more array, row-major. */
  public Batch<P> with(Shape shape, float... values) {
    return with(new Part(shape, DType.F32, values));
  }

  /** Returns this batch and one more array, row-major. */
  public Batch<P> with(Shape shape, double... values) {
    return with(new Part(shape, DType.F64, values));
  }

  private Batch<P> with(Part part) {
    List<Part> longer = new ArrayList<>(parts);
    longer.add(part);
    return new Batch<>(program, longer);
  }

  /** Returns what is applied to the arrays. */
  public P program() {
    return program;
  }

  /** Returns a value that is equal for steps of equal programs and arrays of equal shapes. */
  Object kind() {
    return new Kind(
        program, parts.stream().map(Part::shape).toList(), parts.stream().map(Part::type).toList());
  }

  /** Returns the arrays as tensors of a scope, in their order. */
  public Tensor[] of(Scope scope) {
    return parts.stream().map(part -> part.tensor(scope)).toArray(Tensor[]::new);
  }

  /** Adds the arrays to a store. */
  void add(Store store, Scope scope) {
    for (int i = 0; i < parts.size(); i++) {
      store.add(name(i), parts.get(i).tensor(scope));
    }
  }

  /** Writes the arrays where those of a batch of the same kind were added. */
  void upload(Store store) {
    for (int i = 0; i < parts.size(); i++) {
      parts.get(i).upload(store, name(i));
    }
  }

  /** Returns the tensors of a store that arrays of this kind were added to, in their order. */
  Tensor[] of(Store store) {
    Tensor[] tensors = new Tensor[parts.size()];
    for (int i = 0; i < tensors.length; i++) {
      tensors[i] = store.get(name(i));
    }
    return tensors;
  }

  private static String name(int part) {
    return "batch." + part;
  }
}
