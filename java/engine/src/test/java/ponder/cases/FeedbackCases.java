// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static ponder.cases.Values.ANY;
import static ponder.cases.Values.UNIT;
import static ponder.cases.Values.WEIGHTS;

import java.util.List;
import java.util.Objects;
import java.util.stream.Stream;
import ponder.Tensor;
import ponder.op.Feedback;

/**
 * The entries of feedback memory: without a past and with one, all of it or a window; with
 * sequences that begin anew in it, before a step, and end.
 */
final class FeedbackCases {
  private static final String COLUMNS =
      "batch steps layers width inner heads kv_heads head_size past room window eps base"
          + " past_keys past_values dpast_keys dpast_values dkeys dvalues first resets lengths";

  /** Numbers of a size that products of many keep near 1. */
  private static final Values PRODUCT =
      p ->
          p.call().turn() == Turn.RANDOM
              ? Math.clamp(p.normal(), -2, 2) / Math.sqrt(p.call().number("width"))
              : WEIGHTS.at(p);

  private FeedbackCases() {}

  static void add(List<Case> cases) {
    // The sizes, then what the header's nullable arrays are.
    String[] table = {
      "1 1 1 2 3 1 1 2 0 1 0 1e-5 10000 no",
      "2 3 2 6 7 2 1 2 0 1 0 1e-5 10000 no",
      "2 5 1 8 5 2 2 4 3 5 0 1e-5 10000 past",
      "1 4 2 7 9 3 3 2 5 5 2 0.1 100 past",
      "3 4 2 6 7 2 1 2 0 1 0 1e-5 10000 no resets lengths",
      "2 6 1 4 5 2 2 2 3 4 0 1e-5 10000 past first resets",
      "3 5 1 4 6 1 1 4 4 4 3 1e-5 10000 past first lengths"
    };
    String[] large = {
      "3 9 2 33 40 2 1 16 20 24 7 1e-5 10000 past",
      "6 19 2 33 40 2 1 16 20 24 0 1e-5 10000 past first resets lengths",
      "5 17 1 48 33 3 3 8 0 1 0 1e-5 10000 no"
    };
    Case forward =
        new Case("feedback")
            .out(
                "states batch steps layers+1 width",
                "keys batch steps kv_heads head_size",
                "values batch steps kv_heads head_size")
            .in("x batch steps width", ANY)
            .in("attention_gain layers width", UNIT)
            .in("query layers width heads head_size", PRODUCT)
            .in("mix layers heads head_size width", PRODUCT)
            .in("mlp_gain layers width", UNIT)
            .in("wide layers width inner", PRODUCT)
            .in("narrow layers inner width", PRODUCT)
            .in("share layers+1", UNIT)
            .in("memory_gain width", UNIT)
            .in("key width kv_heads head_size", PRODUCT)
            .in("value width kv_heads head_size", PRODUCT)
            .in("past_keys batch room kv_heads head_size", UNIT)
            .in("past_values batch room kv_heads head_size", UNIT)
            .index("first batch", 0, "past+1")
            .index("resets batch steps", -1, 2)
            .index("lengths batch", 0, "steps+1")
            .table(COLUMNS, rows(table))
            .large(rows(large))
            .limit(call -> call.type() == Type.F32 ? Limit.relative(1e-5) : null)
            .op(FeedbackCases::build, FeedbackCases::op);
    cases.add(forward);
    cases.add(
        new Case("feedback_backward")
            .out(
                "dx batch steps width",
                "dattention_gain layers width",
                "dquery layers width heads head_size",
                "dmix layers heads head_size width",
                "dmlp_gain layers width",
                "dwide layers width inner",
                "dnarrow layers inner width",
                "dshare layers+1",
                "dmemory_gain width",
                "dkey width kv_heads head_size",
                "dvalue width kv_heads head_size",
                "dpast_keys batch room kv_heads head_size",
                "dpast_values batch room kv_heads head_size")
            .in("dstates batch steps layers+1 width", ANY)
            .in("dkeys batch steps kv_heads head_size", ANY)
            .in("dvalues batch steps kv_heads head_size", ANY)
            .after(forward)
            .table(COLUMNS, rows(table))
            .large(rows(large))
            .limit(call -> call.type() == Type.F32 ? Limit.relative(1e-4) : null));
  }

  /** Returns rows of that table from their numbers, whether there is a past, and what is told. */
  private static String[] rows(String... rows) {
    return Stream.of(rows)
        .map(
            row -> {
              List<String> words = List.of(row.split(" "));
              int numbers = words.indexOf("no") + words.indexOf("past") + 1;
              String past = words.contains("past") ? " given" : " null";
              var made = new StringBuilder(String.join(" ", words.subList(0, numbers)));
              made.append(past.repeat(6));
              for (String name : List.of("first", "resets", "lengths")) {
                made.append(words.contains(name) ? " given" : " null");
              }
              return made.toString();
            })
        .toArray(String[]::new);
  }

  private static Tensor build(Call call, Tensor... in) {
    return op(call).apply(Stream.of(in).filter(Objects::nonNull).toArray(Tensor[]::new));
  }

  private static Feedback op(Call call) {
    return new Feedback(
        call.number("past"),
        call.number("window"),
        call.real("eps"),
        call.real("base"),
        call.given("past_keys"),
        call.given("first"),
        call.given("resets"),
        call.given("lengths"));
  }
}
