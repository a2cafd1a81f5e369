// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import java.util.LinkedHashMap;
import java.util.Map;
import ponder.abi.Header;

/** One call of one function: a row of a case's table with data of one turn. */
public final class Call {
  private final Case owner;
  private final Type type;
  private final Turn turn;
  private final Map<String, String> row;
  private final int draw;

  /** Long, Double, Array, or null for a null pointer; by the header's names. */
  private final Map<String, Object> arguments = new LinkedHashMap<>();

  Call(Case owner, Type type, Turn turn, Map<String, String> row, int draw) {
    this.owner = owner;
    this.type = type;
    this.turn = turn;
    this.row = row;
    this.draw = draw;
  }

  /** Returns the case that made it. */
  public Case owner() {
    return owner;
  }

  /** Returns the function it calls. */
  public Header.Function function() {
    return owner.function();
  }

  /** Returns the type that its dtype names; F32 where the function has none. */
  public Type type() {
    return type;
  }

  /** Returns the kind of its data. */
  public Turn turn() {
    return turn;
  }

  /** Returns which of the draws of the same row, type and turn it is; 0 is the one that counts. */
  int draw() {
    return draw;
  }

  Map<String, String> row() {
    return row;
  }

  /** Returns the arguments after the context, by the header's names in the header's order. */
  public Map<String, Object> arguments() {
    return arguments;
  }

  /** Returns an array argument; null for a null pointer. */
  public Array array(String name) {
    return (Array) arguments.get(name);
  }

  /** Returns a size or another whole number of the row. */
  public long number(String name) {
    String text = row.get(name);
    if (text == null) throw new IllegalArgumentException(owner.name() + " has no " + name);
    return Long.decode(text);
  }

  /** Returns a real number of the row. */
  public double real(String name) {
    return Double.parseDouble(row.get(name));
  }

  /** Returns whether a row gives the pointer rather than null. */
  boolean given(String name) {
    return !"null".equals(row.get(name));
  }

  /** Returns the call on the same numbers in double. */
  Call widened() {
    Call wide = new Call(owner, Type.F64, turn, row, draw);
    for (var entry : arguments.entrySet()) {
      Object value = entry.getValue();
      wide.arguments.put(entry.getKey(), value instanceof Array array ? array.widened() : value);
    }
    if (wide.arguments.containsKey("dtype")) wide.arguments.put("dtype", (long) Type.F64.ordinal());
    return wide;
  }

  @Override
  public String toString() {
    return owner.name() + " " + type + " " + turn + " " + row;
  }
}
