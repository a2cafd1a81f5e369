// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static ponder.cases.Values.ANY;
import static ponder.cases.Values.GATES;
import static ponder.cases.Values.MASK;
import static ponder.cases.Values.QUERIES;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import ponder.Tensor;
import ponder.op.Attention;
import ponder.op.AttentionInputs;

/** The entries of attention: each option by itself, and with some of the others. */
final class AttentionCases {
  private static final String COLUMNS =
      "batch heads kv_heads q_steps k_steps head_size scale mask_batch mask_heads mask_steps"
          + " segments window causal gated mask dmask lengths q_starts k_starts";

  private AttentionCases() {}

  static void add(List<Case> cases) {
    // batch heads kv_heads q_steps k_steps head_size scale, then what differs from none.
    String[] table = {
      "1 1 1 1 1 1 1",
      "2 3 3 7 7 8 0.35 causal=1",
      "1 2 2 17 33 16 0.25 causal=1",
      "1 3 3 33 17 7 0.4 causal=1 mask=1,3,1",
      "2 2 2 17 33 16 0.25 mask=2,1,17 lengths",
      "3 1 1 3 301 33 0.17 causal=1 lengths mask_batch=3",
      "2 2 2 7 7 64 0.125 causal=1 mask=1,1,7 lengths",
      "2 3 3 5 4 4 0.5 mask=1,1,1",
      "2 3 3 5 4 4 0.5 mask=2,1,1",
      "2 3 3 5 4 4 0.5 causal=1 mask=1,3,1",
      "2 3 3 5 4 4 0.5 mask=1,1,5",
      "2 3 3 5 4 4 0.5 mask=2,3,1 lengths",
      "2 3 3 5 4 4 0.5 causal=1 mask=2,1,5",
      "2 3 3 5 4 4 0.5 mask=1,3,5",
      "2 3 3 5 4 4 0.5 causal=1 mask=2,3,5 lengths",
      "1 1 1 65 130 32 0.18 causal=1 mask=1,1,65",
      // Heads that share their keys.
      "2 6 2 5 9 4 0.5 causal=1",
      "1 4 1 17 33 16 0.25 mask=1,4,1",
      "2 4 2 3 7 2 0.7 mask=2,4,3",
      // Windows, on both sides and behind.
      "1 2 1 7 17 8 0.35 window=4",
      "2 2 2 9 9 4 0.5 causal=1 window=3",
      "1 3 3 17 7 5 0.4 causal=1 window=5 mask=1,1,17",
      "2 2 1 40 130 8 0.35 causal=1 window=50 lengths",
      "1 1 1 33 65 16 0.25 window=1000",
      // A store with room: the last query stands at the last key that counts.
      "3 4 2 1 40 8 0.35 causal=2 lengths",
      "4 2 2 3 9 4 0.5 causal=2 lengths window=4",
      "2 2 1 5 7 4 0.5 causal=2 lengths mask=2,2,5",
      // Sequences one after another, some without queries or keys.
      "1 2 2 12 17 4 0.5 segments=3",
      "1 4 2 17 17 8 0.35 causal=1 segments=7 mask=1,4,17",
      "1 1 1 33 65 16 0.25 causal=1 segments=2 window=5 mask=1,1,1",
      // Gates of every broadcast shape.
      "2 3 3 5 4 4 0.5 gates=1,1,1",
      "2 3 3 5 4 4 0.5 gates=2,1,1",
      "2 3 3 5 4 4 0.5 causal=1 gates=1,3,1",
      "2 3 3 5 4 4 0.5 gates=1,1,5",
      "2 3 3 5 7 4 0.5 gates=2,3,1 lengths",
      "2 3 3 5 4 4 0.5 causal=1 gates=2,1,5 lengths",
      "2 4 2 5 4 4 0.5 gates=1,4,5",
      "2 4 1 5 9 4 0.5 causal=1 gates=2,4,5 window=6",
      "2 2 1 3 9 4 0.5 causal=2 lengths gates=2,1,3",
      "1 2 1 17 9 4 0.5 segments=3 gates=1,2,1",
      "1 1 1 33 65 16 0.25 gated=1",
      "1 1 1 20 130 8 0.35 causal=1 gates=1,1,20"
    };
    String[] large = {
      "2 2 2 150 150 32 0.18 causal=1",
      "1 3 3 70 200 16 0.25 mask=1,3,70 lengths",
      "3 2 2 65 65 64 0.125 causal=1 mask=3,1,1",
      "2 6 2 150 170 16 0.25 causal=1 window=40",
      "1 4 2 300 250 16 0.25 causal=1 segments=5 gates=1,4,1"
    };
    Case forward =
        new Case("attention")
            .types(Cases.STORED)
            .ownBits(Type.BF16)
            .out("out batch q_steps heads head_size")
            .sums("lse batch heads q_steps")
            .in("q batch q_steps heads head_size", QUERIES)
            .in("k batch k_steps kv_heads head_size", QUERIES)
            .in("v batch k_steps kv_heads head_size", ANY)
            .in(
                "mask mask_batch mask_heads mask_steps k_steps",
                p -> (p.call().number("gated") != 0 ? GATES : MASK).at(p))
            .index("lengths batch", 0, "k_steps+1")
            .starts("q_starts segments+1", "q_steps")
            .starts("k_starts segments+1", "k_steps")
            .table(COLUMNS, rows(table))
            .large(rows(large))
            .op(AttentionCases::build, AttentionCases::op);
    cases.add(forward);
    cases.add(
        new Case("attention_backward")
            .types(Cases.STORED)
            .ownBits(Type.BF16)
            .out(
                "dq batch q_steps heads head_size",
                "dk batch k_steps kv_heads head_size",
                "dv batch k_steps kv_heads head_size",
                "dmask mask_batch mask_heads mask_steps k_steps")
            .in("dout batch q_steps heads head_size", ANY)
            .after(forward)
            .table(COLUMNS, rows(table))
            .large(rows(large))
            .times(3, "dq", "dk", "dv", "dmask"));
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
                String none = i < 10 ? "1" : i < 14 ? "0" : "null";
                values.put(columns[i], i < 7 ? words[i] : none);
              }
              for (String word : List.of(words).subList(7, words.length)) {
                set(values, word.split("=")[0], word.replaceFirst(".*=", ""));
              }
              return String.join(" ", values.values());
            })
        .toArray(String[]::new);
  }

  private static void set(Map<String, String> row, String name, String value) {
    switch (name) {
      case "lengths" -> row.put(name, "given");
      case "mask", "gates" -> {
        String[] sizes = value.split(",");
        row.put("mask_batch", sizes[0]);
        row.put("mask_heads", sizes[1]);
        row.put("mask_steps", sizes[2]);
        row.put("mask", "given");
        row.put("dmask", "given");
        if (name.equals("gates")) row.put("gated", "1");
      }
      default -> {
        row.put(name, value);
        if (name.equals("segments")) row.put("q_starts", "given");
        if (name.equals("segments")) row.put("k_starts", "given");
      }
    }
  }

  private static Tensor build(Call call, Tensor... in) {
    Attention base = base(call);
    AttentionInputs with = null;
    if (in[3] != null) with = call.number("gated") != 0 ? base.gates(in[3]) : base.mask(in[3]);
    if (in[4] != null) with = with == null ? base.lengths(in[4]) : with.lengths(in[4]);
    if (in[5] != null) {
      with = with == null ? base.packed(in[5], in[6]) : with.packed(in[5], in[6]);
    }
    return with == null ? base.apply(in[0], in[1], in[2]) : with.apply(in[0], in[1], in[2]);
  }

  private static Attention base(Call call) {
    Attention base =
        switch ((int) call.number("causal")) {
          case 0 -> Attention.full();
          case 1 -> Attention.causal();
          default -> Attention.causalAtLength();
        };
    return base.window(call.number("window")).scale(call.real("scale"));
  }

  private static Attention op(Call call) {
    Attention base = base(call);
    boolean gated = call.number("gated") != 0;
    return new Attention(
        base.order(),
        base.window(),
        base.scale(),
        call.given("mask") && !gated,
        call.given("mask") && gated,
        call.given("lengths"),
        call.given("q_starts"));
  }
}
