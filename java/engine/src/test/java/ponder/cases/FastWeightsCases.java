// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static ponder.cases.Values.ANY;
import static ponder.cases.Values.UNIT;
import static ponder.cases.Values.WEIGHTS;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.stream.Stream;
import ponder.Tensor;
import ponder.op.FastWeights;
import ponder.op.FastWeightsInputs;

/** The entries of fast-weight memory: each kind, with the options by themselves and together. */
final class FastWeightsCases {
  private static final String COLUMNS =
      "batch heads steps keys values decay_size chunk scale features normalised decay rate erase"
          + " write initial resets lengths ddecay drate derase dwrite dinitial dlast";

  /** Keys of a length near 1, so that a corrected state stays small however many steps there are. */
  private static final Values KEYS =
      p ->
          p.call().turn() == Turn.RANDOM
              ? Math.clamp(p.normal(), -2, 2) / Math.sqrt(p.cols())
              : WEIGHTS.at(p);

  private FastWeightsCases() {}

  static void add(List<Case> cases) {
    // batch heads steps keys values scale, then what differs from none.
    String[] table = {
      "1 1 1 1 1 1",
      "2 3 5 4 3 0.5",
      "2 1 7 3 17 1 initial",
      "1 2 17 7 5 0.3 features",
      "2 2 5 4 3 1 features normalised",
      "1 2 3 2 2 1 features normalised decay=1 initial",
      "2 1 5 3 4 1 decay=1",
      "1 2 7 3 4 0.5 decay=3 resets",
      "2 2 3 2 3 1 lengths initial",
      "1 1 3 2 2 1 rate",
      "2 3 5 4 3 0.5 rate initial",
      "1 2 17 7 33 1 rate decay=1",
      "2 1 7 3 5 1 rate decay=3 resets lengths initial",
      "2 2 5 3 4 1 rate features chunk=2",
      "1 1 3 2 2 1 erase",
      "2 2 5 3 4 0.5 erase decay=3 initial",
      "3 1 7 4 3 1 erase decay=1 resets lengths initial chunk=3",
      "1 2 17 5 4 1 rate decay=5 chunk=7 resets",
      "1 2 9 4 3 1 features normalised chunk=4 resets lengths",
      "1 2 19 5 9 1 rate decay=1 chunk=16 resets initial",
      "2 1 18 9 6 0.5 features decay=1 chunk=16 lengths"
    };
    String[] large = {
      "2 4 70 33 65 1 rate decay=1 resets",
      "2 4 70 64 64 1 features normalised lengths",
      "1 4 65 33 40 1 erase decay=33 initial chunk=16",
      "1 2 130 100 70 1 rate decay=1 chunk=64 resets lengths"
    };
    Case forward =
        new Case("fast_weights")
            .types(Cases.STORED)
            .ownBits(Type.BF16)
            .out("out batch steps heads values")
            .sums("last batch heads keys values+normalised")
            .in("q batch steps heads keys", ANY)
            .in("k batch steps heads keys", KEYS)
            .in("v batch steps heads values", ANY)
            .inSums("rate batch steps heads", UNIT)
            .inSums("erase batch steps heads keys", WEIGHTS)
            .inSums("write batch steps heads keys", WEIGHTS)
            .inSums("decay batch steps heads decay_size", UNIT)
            .inSums("initial batch heads keys values+normalised", UNIT)
            .index("resets batch steps", -1, 2)
            .index("lengths batch", 0, "steps+1")
            .table(COLUMNS, rows(table))
            .large(rows(large))
            .limit(call -> limit(call, 2e-5, 5e-3))
            .op(FastWeightsCases::build, FastWeightsCases::op);
    cases.add(forward);
    cases.add(
        new Case("fast_weights_backward")
            .types(Cases.STORED)
            .ownBits(Type.BF16)
            .out(
                "dq batch steps heads keys",
                "dk batch steps heads keys",
                "dv batch steps heads values")
            .sums(
                "ddecay batch steps heads decay_size",
                "drate batch steps heads",
                "derase batch steps heads keys",
                "dwrite batch steps heads keys",
                "dinitial batch heads keys values+normalised")
            .in("dout batch steps heads values", ANY)
            .inSums("dlast batch heads keys values+normalised", ANY)
            .after(forward)
            .table(COLUMNS, rows(table))
            .large(rows(large))
            .limit(call -> limit(call, 1e-4, 2e-2)));
  }

  private static Limit limit(Call call, double f32, double bf16) {
    return switch (call.type()) {
      case F32 -> Limit.relative(f32);
      case BF16 -> Limit.relative(bf16);
      default -> null;
    };
  }

  /** Returns rows of that table from their sizes and what differs from none. */
  private static String[] rows(String... rows) {
    String[] columns = COLUMNS.split(" ");
    return Stream.of(rows)
        .map(
            row -> {
              String[] words = row.split(" ");
              var values = new LinkedHashMap<String, String>();
              for (int i = 0; i < columns.length; i++) {
                values.put(columns[i], i < 5 ? words[i] : i < 10 ? "0" : "null");
              }
              values.put("decay_size", "1");
              values.put("scale", words[5]);
              for (String word : List.of(words).subList(6, words.length)) {
                String name = word.split("=")[0];
                String value = word.contains("=") ? word.split("=")[1] : "1";
                boolean number = name.equals("chunk") || columns(name) < 10;
                values.put(name, number ? value : "given");
                if (name.equals("decay")) values.put("decay_size", value);
                if (name.equals("erase")) values.put("write", "given");
                if (name.equals("erase")) values.put("dwrite", "given");
                if (values.containsKey("d" + name)) values.put("d" + name, "given");
                // Some calls have an adjoint of the state after the last step.
                if (name.equals("initial")) values.put("dlast", "given");
              }
              return String.join(" ", values.values());
            })
        .toArray(String[]::new);
  }

  private static int columns(String name) {
    return List.of(COLUMNS.split(" ")).indexOf(name);
  }

  private static Tensor build(Call call, Tensor... in) {
    FastWeightsInputs with =
        in[3] != null
            ? FastWeights.delta(in[3])
            : in[4] != null ? FastWeights.lowRank(in[4], in[5]) : FastWeights.plain();
    with = with.chunk(call.number("chunk")).scale(call.real("scale"));
    if (call.number("features") != 0) with = with.features();
    if (call.number("normalised") != 0) with = with.normalised();
    if (in[6] != null) with = with.decay(in[6]);
    if (in[7] != null) with = with.initial(in[7]);
    if (in[8] != null) with = with.resets(in[8]);
    if (in[9] != null) with = with.lengths(in[9]);
    return with.apply(in[0], in[1], in[2]);
  }

  private static FastWeights op(Call call) {
    return new FastWeights(
        call.given("rate")
            ? FastWeights.Kind.DELTA
            : call.given("erase") ? FastWeights.Kind.LOW_RANK : FastWeights.Kind.PLAIN,
        call.number("chunk"),
        call.real("scale"),
        call.number("features") != 0,
        call.number("normalised") != 0,
        call.given("decay"),
        call.given("initial"),
        call.given("resets"),
        call.given("lengths"));
  }
}
