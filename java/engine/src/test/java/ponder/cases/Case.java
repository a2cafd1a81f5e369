// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.SplittableRandom;
import java.util.function.Function;
import ponder.Op;
import ponder.Tensor;
import ponder.abi.Header;
import ponder.abi.PlainKernels;

/**
 * All that tests, tapes and benchmarks need to know of one function of the header: the shapes of
 * its arrays, where their numbers come from, a table of sizes, the limits, and the op above it.
 *
 * <p>Shapes are words: names of the table's columns, numbers, or sums such as {@code
 * a_size+b_size} and {@code size-count}. A column of the table is a size, a scalar, or a nullable
 * pointer, which is null or given.
 */
public final class Case {
  /** A tensor function of the case's inputs, null where the row gives none. */
  @FunctionalInterface
  public interface Build {
    Tensor of(Call call, Tensor... in);
  }

  private record Spec(
      String name,
      String[] shape,
      Array.Use use,
      Function<Call, Type> type,
      Values values,
      Object low,
      Object high,
      boolean rises) {}

  private final String name;
  private final Header.Function function;
  private final Map<String, Spec> specs = new LinkedHashMap<>();
  private final List<Map<String, String>> rows = new ArrayList<>();
  private final List<Map<String, String>> large = new ArrayList<>();
  private final Map<String, Function<Call, Limit>> limits = new LinkedHashMap<>();
  private final Map<String, Double> times = new LinkedHashMap<>();
  private List<Type> types = List.of(Type.F32, Type.F64);
  private String[] columns;
  private boolean exact;
  private Type ownBits;
  private Case after;
  private Build op;
  private Function<Call, Op.Fused> fused;

  Case(String name) {
    this.name = name;
    this.function =
        Header.kernels().stream()
            .filter(f -> f.name().equals(name))
            .findAny()
            .orElseThrow(() -> new IllegalArgumentException("the header has no pnd_" + name));
  }

  // ---- how a case is written -------------------------------------------------------------------

  /** Arrays of the function's type that it writes: a name and a shape each. */
  Case out(String... arrays) {
    for (String array : arrays) put(array, Array.Use.WRITTEN, Call::type, null, null, null);
    return this;
  }

  /** Arrays that it writes of the type that it sums in: a name and a shape each. */
  Case sums(String... arrays) {
    for (String array : arrays) {
      put(array, Array.Use.WRITTEN, call -> call.type().sums(), null, null, null);
    }
    return this;
  }

  /** An array of the function's type that it reads. */
  Case in(String array, Values values) {
    return put(array, Array.Use.READ, Call::type, values, null, null);
  }

  /** An array that it reads of the type that the function sums in. */
  Case inSums(String array, Values values) {
    return put(array, Array.Use.READ, call -> call.type().sums(), values, null, null);
  }

  /** An array that it reads, of the type whose number the row's column {@code from} gives. */
  Case from(String array, Values values) {
    Function<Call, Type> type = call -> Type.values()[(int) call.number("from")];
    return put(array, Array.Use.READ, type, values, null, null);
  }

  /** An array of the function's type that it updates in place. */
  Case update(String array, Values values) {
    return put(array, Array.Use.UPDATED, Call::type, values, null, null);
  }

  /** An array of int32_t in [low, high), each a number or a shape word. */
  Case index(String array, Object low, Object high) {
    return put(array, Array.Use.READ, call -> Type.I32, null, low, high);
  }

  /** An array of int32_t that rises from 0 to a size, in steps of which some are 0. */
  Case starts(String array, String total) {
    return put(array, Array.Use.READ, call -> Type.I32, null, "0", total, true);
  }

  /** An array of one int64_t. */
  Case step(String array) {
    return put(array + " 1", Array.Use.READ, call -> Type.I64, null, null, null);
  }

  /** An array of 32-bit words, whatever the function's type. */
  Case words(String array, Array.Use use) {
    return put(array, use, call -> Type.I32, null, "0", "1000000");
  }

  private Case put(
      String array,
      Array.Use use,
      Function<Call, Type> type,
      Values values,
      Object low,
      Object high) {
    return put(array, use, type, values, low, high, false);
  }

  private Case put(
      String array,
      Array.Use use,
      Function<Call, Type> type,
      Values values,
      Object low,
      Object high,
      boolean rises) {
    String[] words = array.split(" ");
    String[] shape = Arrays.copyOfRange(words, 1, words.length);
    specs.put(words[0], new Spec(words[0], shape, use, type, values, low, high, rises));
    return this;
  }

  /** The types of the function; F32 alone stands for a function without one. */
  Case types(Type... types) {
    this.types = List.of(types);
    return this;
  }

  /** The table: its columns, then its rows. */
  Case table(String columns, String... rows) {
    this.columns = columns.split(" ");
    for (String row : rows) this.rows.add(row(row));
    return this;
  }

  /** Rows on which threads pay, for the tests of bits and the benchmarks. */
  Case large(String... rows) {
    for (String row : rows) large.add(row(row));
    return this;
  }

  private Map<String, String> row(String text) {
    String[] values = text.split(" ");
    if (values.length != columns.length) {
      throw new IllegalArgumentException(name + ": row " + text + " does not fit the columns");
    }
    var row = new LinkedHashMap<String, String>();
    for (int i = 0; i < values.length; i++) row.put(columns[i], values[i]);
    return row;
  }

  /**
   * Its other arrays are those of that function's call on the same row: what it reads, and what it
   * writes.
   */
  Case after(Case forward) {
    after = forward;
    return this;
  }

  /** Every output is equal to the answer after rounding. */
  Case exact() {
    exact = true;
    return this;
  }

  /** Calls of that type have bits of their own in each build. */
  Case ownBits(Type type) {
    ownBits = type;
    return this;
  }

  /** Every output has that limit. */
  Case limit(Function<Call, Limit> limit) {
    for (Spec spec : specs.values()) limits.putIfAbsent(spec.name, limit);
    return this;
  }

  /** An output may be that many times as far off as the plain float loop, instead of twice. */
  Case times(double times, String... outputs) {
    for (String output : outputs) this.times.put(output, times);
    return this;
  }

  /** The op above the function: as its users call it, and as its record. */
  Case op(Build op, Function<Call, Op.Fused> fused) {
    this.op = op;
    this.fused = fused;
    return this;
  }

  /** The tensor function above a primitive. */
  Case op(Build op) {
    this.op = op;
    return this;
  }

  // ---- what follows from it --------------------------------------------------------------------

  /** Returns the function's name without {@code pnd_}. */
  public String name() {
    return name;
  }

  /** Returns the function's declaration. */
  public Header.Function function() {
    return function;
  }

  /** Returns what its users call, or null for a function that is no op's forward. */
  public Build op() {
    return op;
  }

  /** Returns the op's record for a call, or null for a primitive. */
  public Op.Fused fused(Call call) {
    return fused == null ? null : fused.apply(call);
  }

  /** Returns the types it is called with. */
  public List<Type> types() {
    return types;
  }

  /** Returns the calls of the table, every row with data of every turn. */
  public List<Call> calls(Type type) {
    return calls(type, rows);
  }

  /** Returns the calls of the large rows. */
  public List<Call> largeCalls(Type type) {
    var calls = new ArrayList<Call>();
    for (var row : large) calls.add(make(type, Turn.RANDOM, row, 0));
    return calls;
  }

  /**
   * Returns a call of random data on sizes of the caller's.
   *
   * @param sizes values by the table's columns; its first row has those that are not named
   */
  public Call call(Type type, Map<String, String> sizes) {
    sizes.keySet().forEach(this::requireColumn);
    var row = new LinkedHashMap<>(rows.getFirst());
    row.putAll(sizes);
    return make(type, Turn.RANDOM, row, 0);
  }

  /** Refuses a name that is no column of the table. */
  public void requireColumn(String column) {
    if (!List.of(columns).contains(column)) {
      throw new IllegalArgumentException(name + " has no " + column);
    }
  }

  private List<Call> calls(Type type, List<Map<String, String>> rows) {
    var calls = new ArrayList<Call>();
    for (var row : rows) {
      if (type == Type.I32 && row.values().stream().anyMatch(v -> v.contains("."))) continue;
      for (Turn turn : Turn.values()) calls.add(make(type, turn, row, 0));
    }
    return calls;
  }

  /** Returns a call of the same row and turn with other numbers; draw 0 has the call's own. */
  Call redraw(Call call, Type type, int draw) {
    return make(type, call.turn(), call.row(), draw);
  }

  private Call make(Type type, Turn turn, Map<String, String> row, int draw) {
    var call = new Call(this, type, turn, row, draw);
    Map<String, Array> before = Map.of();
    if (after != null) {
      Call forward = after.make(type, turn, row, draw);
      before = new LinkedHashMap<>();
      Map<String, Array> written = Player.play(PlainKernels.wide(), forward);
      for (String argument : forward.arguments().keySet()) {
        if (forward.arguments().get(argument) instanceof Array array) {
          before.put(argument, written.getOrDefault(argument, array).with(Array.Use.READ));
        }
      }
    }
    for (Header.Parameter parameter : function.arguments()) {
      String key = parameter.name();
      Object value;
      if (key.equals("dtype")) {
        value = (long) type.ordinal();
      } else if (!parameter.pointer()) {
        value = parameter.type().equals("double") ? (Object) call.real(key) : call.number(key);
      } else if (!call.given(key)) {
        value = null;
      } else if (specs.containsKey(key)) {
        value = array(specs.get(key), call);
      } else {
        value = before.get(key);
        if (value == null) throw new IllegalArgumentException(name + " does not say " + key);
      }
      call.arguments().put(key, value);
    }
    return call;
  }

  private static Array array(Spec spec, Call call) {
    var shape = new long[spec.shape.length];
    for (int i = 0; i < shape.length; i++) shape[i] = size(spec.shape[i], call);
    Type type = spec.type.apply(call);
    Array array = Array.empty(spec.use, type, shape);
    if (spec.use == Array.Use.WRITTEN) return array;
    int cols = shape.length == 0 ? 1 : (int) shape[shape.length - 1];
    long seed = (spec.name + call.row() + call.turn() + call.type()).hashCode();
    var random = new SplittableRandom(seed * 31 + call.draw());
    if (spec.rises) {
      rise(array, call.turn(), random, size(spec.high, call));
      return array;
    }
    for (int i = 0; i < array.count(); i++) {
      double value;
      if (type == Type.I64) {
        value =
            switch (call.turn()) {
              case RANDOM -> 7;
              case STRUCTURED -> 1;
              case EXTREME -> 123_456_789_012L;
            };
      } else if (spec.low != null) {
        value = index(call.turn(), random, i, size(spec.low, call), size(spec.high, call));
      } else if (type == Type.I32) {
        value = random.nextInt();
      } else {
        value = spec.values.at(new Values.Place(call, random, i, cols));
        // A redraw lies beside the data: sums of quarters would be exact again.
        if (call.draw() > 0) value *= 1 + 0x1p-12 * random.nextDouble();
      }
      array.set(i, value);
    }
    return array;
  }

  private static long index(Turn turn, SplittableRandom random, int i, long low, long high) {
    return switch (turn) {
      case RANDOM -> random.nextLong(low, high);
      case STRUCTURED -> low + i % (high - low);
      case EXTREME -> i % 3 == 0 ? low : high - 1;
    };
  }

  /** At random places; by steps as even as can be; in one step, the middle one. */
  private static void rise(Array array, Turn turn, SplittableRandom random, long total) {
    int last = array.count() - 1;
    long[] starts = random.longs(last + 1L, 0, total + 1).sorted().toArray();
    for (int i = 1; i <= last; i++) {
      double value =
          switch (turn) {
            case RANDOM -> starts[i];
            case STRUCTURED -> total * i / last;
            case EXTREME -> i <= last / 2 ? 0 : total;
          };
      array.set(i, i == last ? total : value);
    }
  }

  /** Returns the value of a shape word. */
  private static long size(Object word, Call call) {
    if (word instanceof Integer number) return number;
    long sum = 0;
    for (String part : ((String) word).split("\\+|(?=-)")) {
      boolean minus = part.startsWith("-");
      String term = minus ? part.substring(1) : part;
      long value = Character.isDigit(term.charAt(0)) ? Long.parseLong(term) : call.number(term);
      sum += minus ? -value : value;
    }
    return sum;
  }

  /** Returns whether every output is equal to the answer after rounding. */
  boolean isExact() {
    return exact;
  }

  /** Returns whether each build has bits of its own for calls of a type. */
  boolean hasOwnBits(Type type) {
    return type == ownBits;
  }

  /** Returns the limit that an output of a call has by name, or null. */
  Limit limit(Call call, String output) {
    var limit = limits.get(output);
    return limit == null ? null : limit.apply(call);
  }

  /**
   * Returns how far the outputs of a call may be from the answer as a part of its norm; infinity
   * where they are judged one by one.
   */
  public double relative(Call call) {
    return limits.values().stream()
        .map(limit -> limit.apply(call))
        .filter(Objects::nonNull)
        .mapToDouble(Limit::relative)
        .min()
        .orElse(Double.POSITIVE_INFINITY);
  }

  /** Returns how many times as far off as the plain float loop an output may be. */
  double times(String output) {
    return times.getOrDefault(output, 2.0);
  }

  /** Returns the arrays of a call that are inputs of its op, in the case's order. */
  public List<String> inputs() {
    return specs.values().stream()
        .filter(spec -> spec.use == Array.Use.READ)
        .map(spec -> spec.name)
        .toList();
  }

  /** Returns the words of an array's shape. */
  List<String> shape(String array) {
    return List.of(specs.get(array).shape);
  }

  @Override
  public String toString() {
    return name;
  }
}
