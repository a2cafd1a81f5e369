// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import static org.junit.jupiter.api.Assertions.assertDoesNotThrow;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import ponder.DType;
import ponder.cases.Case;
import ponder.cases.Cases;
import ponder.cases.Type;

/** What the gate lets through and what it stops, on the engine's own library. */
class GateTest {
  private static final Row ATTENTION =
      Row.parse(
          " | a.b | op attention forward | f32 | heads=2 q_steps=65 k_steps=65 head_size=8"
              + " scale=0.35 causal=1 | | ");
  private static final Row PRODUCT =
      Row.parse(" | a.b | op matmul forward | f32 | rows=65 cols=33 inner=70 | | ");
  private static final Row GATHER =
      Row.parse(" | a.b | op gather forward | f32 | count=70 rows=33 cols=5 | | ");

  private static void check(Row row, Case.Build op, String direction) {
    try (Subject subject = new OpSubject(row, op, row.words()[1], direction, "cpu")) {
      subject.check(3);
    }
  }

  private static Case.Build right(Row row) {
    return Cases.of(row.words()[1]).op();
  }

  @Test
  void letsRightAnswersThrough() {
    for (Row row : new Row[] {ATTENTION, PRODUCT, GATHER}) {
      for (String direction : new String[] {"forward", "backward", "both"}) {
        boolean backward = !direction.equals("forward");
        if (backward && row != ATTENTION) continue;
        assertDoesNotThrow(() -> check(row, right(row), direction), row.subject());
      }
    }
  }

  @Test
  void stopsWrongAnswers() {
    for (Row row : new Row[] {ATTENTION, PRODUCT, GATHER}) {
      Case.Build wrong = (call, in) -> right(row).of(call, in).affine(1, 1e-4);
      assertThrows(RedGate.class, () -> check(row, wrong, "forward"), row.subject());
    }
  }

  @Test
  void stopsWrongDerivatives() {
    Case.Build wrong = (call, in) -> right(ATTENTION).of(call, in).affine(1.0001, 0);
    assertThrows(RedGate.class, () -> check(ATTENTION, wrong, "backward"));
  }

  @Test
  void theDerivativeOfAMaskOfAnyShapeIsJudged() {
    for (String shape : new String[] {"1 1 1", "2 1 1", "1 2 1", "1 1 65", "2 2 65"}) {
      String[] size = shape.split(" ");
      Row row =
          Row.parse(
              " | a.b | op attention backward | f32 | batch=2 heads=2 kv_heads=2 q_steps=65"
                  + " k_steps=70 head_size=8 scale=0.35 causal=0 mask=given learned=1 mask_batch="
                  + (size[0] + " mask_heads=" + size[1] + " mask_steps=" + size[2] + " | | "));
      assertDoesNotThrow(() -> check(row, right(row), "backward"), shape);
      // The same value, another slope in the mask alone.
      Case.Build wrong =
          (call, in) -> {
            var nothing = in[3].exp().sub(in[3].exp().detach()).sum().scale(1e-3);
            return right(row).of(call, in).add(nothing);
          };
      var red = assertThrows(RedGate.class, () -> check(row, wrong, "backward"), shape);
      assertTrue(red.getMessage().contains("result 3"), red.getMessage());
    }
  }

  @Test
  void scansAreJudgedByTheirNorm() {
    for (String op : new String[] {"gru f32", "lstm f32", "gru bf16", "lstm bf16"}) {
      String sizes = "batch=7 steps=65 width=64 resets=given lengths=given";
      String subject = op.replace(" ", " both | ");
      Row row = Row.parse(" | a.b | op %s | %s | | ".formatted(subject, sizes));
      assertDoesNotThrow(() -> check(row, right(row), "both"), op);
      double factor = op.endsWith(" f32") ? 1.0001 : 1.03;
      Case.Build wrong = (call, in) -> right(row).of(call, in).cast(DType.F32).affine(factor, 0);
      var red = assertThrows(RedGate.class, () -> check(row, wrong, "both"), op);
      assertTrue(red.getMessage().contains("norm"), red.getMessage());
    }
  }

  @Test
  void stopsAnswersThatChange() {
    var calls = new AtomicInteger();
    // As small as a change can be: another order of the same sum.
    Case.Build restless =
        (call, in) -> {
          var y = right(ATTENTION).of(call, in);
          return calls.incrementAndGet() % 3 == 0 ? y.affine(1 + 0x1p-23, 0) : y;
        };
    var red = assertThrows(RedGate.class, () -> check(ATTENTION, restless, "forward"));
    assertTrue(red.getMessage().contains("run again"), red.getMessage());
  }

  @Test
  void aStepOfBf16IsMixed() {
    String step =
        " | a.b | step | %s | layers=1 width=16 heads=2 batch=2 steps=9 vocabulary=11 | | ";
    Object[] losses = new Object[2];
    String[] types = {"f32", "bf16"};
    for (int i = 0; i < 2; i++) {
      Row row = Row.parse(step.formatted(types[i]));
      try (Subject subject = new StepSubject(row, new StepTask.OneBatch(row), "cpu")) {
        assertDoesNotThrow(() -> subject.check(1));
        losses[i] = subject.run();
      }
    }
    double full = (double) losses[0];
    assertNotEquals(full, (double) losses[1], "rounded products");
    assertEquals(full, (double) losses[1], 0.01 * full);
  }

  @Test
  void stopsNaNAndValuesThatAreMissing() {
    double[] answer = {1, 2};
    assertThrows(RedGate.class, () -> near(new double[] {1, Double.NaN}, answer));
    assertThrows(RedGate.class, () -> near(new double[] {1}, answer));
    double[][] shorter = {{1}};
    assertThrows(RedGate.class, () -> Gate.same("y", shorter, new double[][] {answer}));
    assertDoesNotThrow(() -> near(new double[] {1, 2 + 0x1p-22}, answer));
    assertThrows(RedGate.class, () -> near(new double[] {1, 2 + 0x1p-20}, answer));
  }

  private static void near(double[] got, double[] answer) {
    Gate.near("y", Type.F32, 2, got, answer, answer, answer);
  }
}
