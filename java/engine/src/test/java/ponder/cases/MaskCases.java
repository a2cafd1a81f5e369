// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static ponder.cases.Values.ANY;

import java.util.List;
import ponder.Key;
import ponder.op.Masking;

/** The entries of mask sampling: every scheme. */
final class MaskCases {
  private static final String COLUMNS =
      "scheme rows length k rate candidates floor vocabulary mask_token mask_share random_share key"
          + " eligible";

  private MaskCases() {}

  static void add(List<Case> cases) {
    String[] table = new String[6 * 6];
    String[] large = new String[6];
    for (int scheme = 0; scheme < 6; scheme++) {
      // scheme rows length k rate candidates floor, corruption, key, eligible
      String[] rows = {
        "1 1 0 0.5 1 0.5 10 0 0.8 0.1 1 given",
        "2 7 3 0.25 2 0.5 50 49 0.8 0.1 78 null",
        "3 17 0 0.3 3 0.25 1000 999 0.5 0.5 -7 given",
        "5 33 4 0.1 4 1 7 7 1 0 0x123456789abcdef null",
        "2 9 8 0.9 2 0.125 100 100 0 1 9 null",
        "3 5 5 0.5 1 0 30 30 0.8 0.1 11 given"
      };
      for (int i = 0; i < rows.length; i++) table[6 * scheme + i] = scheme + " " + rows[i];
      large[scheme] = scheme + " 40 300 0 0.15 4 0.5 50000 103 0.8 0.1 3 given";
    }
    Case forward =
        new Case("mask")
            .out("log_probability rows", "inclusion rows length", "weight rows length")
            .words("corrupted rows length", Array.Use.WRITTEN)
            .words("label rows length", Array.Use.WRITTEN)
            .in("logits rows length", ANY)
            .index("tokens rows length", -2, 30)
            .step("step")
            .index("eligible rows length", 0, 4)
            .table(COLUMNS, table)
            .large(large)
            .op(
                (call, in) ->
                    in[3] == null
                        ? op(call).apply(in[0], in[1], in[2])
                        : op(call).mask(in[0], in[1], in[2], in[3]).logProbability(),
                MaskCases::op);
    cases.add(forward);
    cases.add(
        new Case("mask_backward")
            .out("dlogits rows length")
            .in("dlog_probability rows", ANY)
            .after(forward)
            .table(COLUMNS, table)
            .large(large));
  }

  private static Masking op(Call call) {
    return new Masking(
        Masking.Scheme.values()[(int) call.number("scheme")],
        call.number("k"),
        call.real("rate"),
        call.number("candidates"),
        call.real("floor"),
        new Key(call.number("key")),
        call.number("vocabulary"),
        call.number("mask_token"),
        call.real("mask_share"),
        call.real("random_share"));
  }
}
