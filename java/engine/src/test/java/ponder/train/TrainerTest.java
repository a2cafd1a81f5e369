// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.function.BiFunction;
import java.util.function.ToDoubleFunction;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import ponder.DType;
import ponder.Device;
import ponder.Gradient;
import ponder.Scope;
import ponder.Shape;
import ponder.Store;
import ponder.Tensor;
import ponder.TestDevices;
import ponder.optim.Optimiser;
import ponder.optim.Sgd;

/** The loop: budget, selection, refusals, clipping, what is heard of it. */
class TrainerTest {
  private static final Schedule CONSTANT = new Schedule(0.1, 0, 1);
  private static final Optimiser DESCENT = new Sgd(0, 0);
  private static final double NONE = Double.POSITIVE_INFINITY;

  /**
   * The FLOPs of a step on mean (w - 1)^2 for five numbers w: the loss 5 + 5 + 4 + 2, its gradient
   * 2 + 5 + 5 + 5, the norm 10 and the scale from it 2 + 2 + 1 + 2, the move 7 for each.
   */
  private static final long STEP = 16 + 17 + 17 + 35;

  private final Device device = TestDevices.open(TestDevices.PLAIN);
  private final Store store = device.store();
  private final List<Progress.Step> heard = new ArrayList<>();

  @AfterEach
  void close() {
    device.close();
  }

  private Tensor start(double... w) {
    try (Scope scope = device.open()) {
      return store.add("w", scope.tensor(Shape.of(w.length), w));
    }
  }

  private static Objective objective(
      BiFunction<Scope, Long, Tensor> loss, ToDoubleFunction<Scope> validation) {
    return new Objective() {
      @Override
      public Tensor loss(Scope scope, long step) {
        return loss.apply(scope, step);
      }

      @Override
      public double validation(Scope scope) {
        return validation.applyAsDouble(scope);
      }
    };
  }

  private static Tensor squares(Scope scope, Tensor w, double target) {
    Tensor d = w.sub(scope.full(DType.F64, w.shape(), target));
    return d.mul(d).mean();
  }

  private Trainer.Outcome run(Trainer trainer, Objective objective, long flops) {
    return trainer.run(store, objective, flops, heard::add);
  }

  @Test
  void theStepThatReachesTheBudgetIsTheLast() {
    Tensor w = start(1, 2, 3, 4, 5);
    List<Long> asked = new ArrayList<>();
    Objective objective =
        objective(
            (scope, step) -> {
              asked.add(step);
              return squares(scope, w, 1);
            },
            scope -> 1);
    Trainer trainer = new Trainer(DESCENT, CONSTANT, NONE, 1);
    assertEquals(1, run(trainer, objective, 1).steps());
    assertEquals(1, run(trainer, objective, STEP).steps());
    assertEquals(2, run(trainer, objective, STEP + 1).steps());
    asked.clear();
    heard.clear();
    Trainer.Outcome outcome = run(trainer, objective, 10 * STEP);
    assertEquals(10, outcome.steps());
    assertEquals(10 * STEP, outcome.work().flops());
    assertEquals(0, outcome.work().matrixFlops());
    assertTrue(outcome.work().bytes() > 0);
    for (int i = 0; i < 10; i++) {
      assertEquals(i, asked.get(i));
      assertEquals(i + 1, heard.get(i).step());
      assertEquals((i + 1) * STEP, heard.get(i).flops());
      assertEquals(10 * STEP, heard.get(i).budget());
    }
    assertEquals(10, heard.size());
  }

  @Test
  void validationIsCountedApart() {
    Tensor w = start(1, 2, 3, 4, 5);
    Objective objective =
        objective(
            (scope, step) -> squares(scope, w, 1),
            scope -> {
              Tensor a = scope.full(DType.F64, Shape.of(20, 30), 1);
              return a.matmul(a, false, true).sum().item() + a.exp().sum().item();
            });
    Trainer.Outcome outcome = run(new Trainer(DESCENT, CONSTANT, NONE, 4), objective, 12 * STEP);
    assertEquals(12, outcome.steps());
    assertEquals(12 * STEP, outcome.work().flops());
    long validation = 2 * 20 * 20 * 30 + 399 + 600 + 599;
    assertEquals(4 * validation, outcome.validationWork().flops());
    assertEquals(4 * 2 * 20 * 20 * 30, outcome.validationWork().matrixFlops());
  }

  @Test
  void whatListenersComputeIsNotCounted() {
    Tensor w = start(1, 2, 3, 4, 5);
    Objective objective = objective((scope, step) -> squares(scope, w, 1), scope -> 0.5);
    Progress busy =
        step -> {
          try (Scope scope = device.openUnrecorded()) {
            squares(scope, w, 1).item();
          }
        };
    Trainer.Outcome outcome =
        new Trainer(DESCENT, CONSTANT, NONE, 4)
            .run(store, objective, 12 * STEP, busy.and(heard::add));
    assertEquals(12, outcome.steps());
    assertEquals(12 * STEP, outcome.work().flops());
    assertEquals(0, outcome.validationWork().flops());
    assertEquals(12 * STEP, heard.getLast().flops());
  }

  /** Returns the steps after which a run of so many steps measured the validation loss. */
  private List<Long> measured(int validations, int steps) {
    heard.clear();
    Objective objective =
        objective((scope, step) -> squares(scope, store.get("w"), 1), scope -> 0.5);
    run(new Trainer(DESCENT, CONSTANT, NONE, validations), objective, steps * STEP);
    return heard.stream().filter(Progress.Step::validated).map(Progress.Step::step).toList();
  }

  @Test
  void validatesAtEqualSharesOfTheBudgetAndAtTheEnd() {
    start(1, 2, 3, 4, 5);
    assertEquals(List.of(9L), measured(1, 9));
    assertEquals(List.of(3L, 6L, 9L), measured(3, 9));
    assertEquals(List.of(3L, 5L, 8L, 10L), measured(4, 10));
    assertEquals(List.of(1L, 2L, 3L), measured(100, 3));
  }

  @Test
  void leavesTheParametersWithTheLowestValidationLoss() {
    Tensor w = start(1, 2, 3, 4, 5);
    double[] losses = {5, 3, 4, 3, 7};
    List<double[]> seen = new ArrayList<>();
    Objective objective =
        objective(
            (scope, step) -> squares(scope, w, -step),
            scope -> {
              seen.add(w.toDoubles());
              return losses[seen.size() - 1];
            });
    Trainer.Outcome outcome =
        run(new Trainer(new Sgd(0.5, 0), CONSTANT, NONE, 5), objective, 10 * STEP);
    assertEquals(5, seen.size());
    assertEquals(4, outcome.bestStep());
    assertEquals(3, outcome.bestValidation());
    assertArrayEquals(seen.get(1), w.toDoubles());
    assertNotEquals(seen.get(0)[0], seen.get(1)[0]);
    assertNotEquals(seen.get(3)[0], seen.get(1)[0]);
    List<Double> reported =
        heard.stream().filter(Progress.Step::validated).map(Progress.Step::validation).toList();
    assertEquals(List.of(5.0, 3.0, 4.0, 3.0, 7.0), reported);
  }

  @Test
  void whatIsValidatedDoesNotReachTheSteps() {
    List<List<Double>> losses = new ArrayList<>();
    for (double data : new double[] {0.25, 1e6}) {
      try (Store fresh = device.store()) {
        Tensor w;
        try (Scope scope = device.open()) {
          w = fresh.add("w", scope.tensor(Shape.of(2), 3.0, -2.0));
        }
        List<Double> run = new ArrayList<>();
        Objective objective =
            objective(
                (scope, step) -> squares(scope, w, step % 3),
                scope -> {
                  Tensor loss = squares(scope, w, data);
                  // Nothing in it is recorded: it has no derivative.
                  assertThrows(IllegalStateException.class, () -> Gradient.of(loss, w));
                  return loss.item();
                });
        new Trainer(new Sgd(0.9, 0.1), CONSTANT, 1, 6)
            .run(fresh, objective, 30 * STEP, step -> run.add(step.loss()));
        losses.add(run);
      }
    }
    assertEquals(losses.get(0), losses.get(1));
  }

  private String refused(Objective objective) {
    Trainer trainer = new Trainer(DESCENT, CONSTANT, NONE, 10);
    String message =
        assertThrows(ArithmeticException.class, () -> run(trainer, objective, 10 * STEP))
            .getMessage();
    // Nothing of the failed run is left open.
    assertThrows(IllegalStateException.class, device::scope);
    return message;
  }

  @Test
  void aLossOrGradientThatIsNoNumberEndsTheRun() {
    Tensor w = start(3, 1, 1, 1, 1);
    String loss =
        refused(
            objective(
                (scope, step) -> {
                  Tensor fine = squares(scope, w, 1);
                  return step < 2 ? fine : fine.add(scope.full(DType.F64, Shape.scalar(), NONE));
                },
                scope -> 1));
    assertTrue(loss.startsWith("training: step 3 has loss Infinity"), loss);
    assertEquals(2, heard.size());
    // d = 2 (w - 1) / 5, twice with rate 0.1: what the two whole steps left.
    assertEquals(1 + 2 * 0.96 * 0.96, w.toDoubles()[0], 1e-12);
    String gradient = refused(objective((scope, step) -> w.sub(w).power(0.5).sum(), scope -> 1));
    assertEquals("training: step 1 has loss 0.0 and gradient norm NaN", gradient);
    assertEquals(1 + 2 * 0.96 * 0.96, w.toDoubles()[0], 1e-12);
    String validation =
        refused(objective((scope, step) -> squares(scope, w, 1), scope -> Double.NaN));
    assertEquals("training: after step 1 the validation loss is NaN", validation);
  }

  @Test
  void aLargeGradientIsScaledDownToTheClip() {
    Tensor w = start(0, 0, 0);
    Objective steep =
        objective(
            (scope, step) -> w.mul(scope.tensor(Shape.of(3), 30.0, 0, -40)).sum(), scope -> 1);
    run(new Trainer(DESCENT, CONSTANT, 2, 1), steep, 1);
    assertArrayEquals(new double[] {-0.12, 0, 0.16}, w.toDoubles(), 1e-15);
    assertEquals(50, heard.get(0).norm(), 1e-12);
    run(new Trainer(DESCENT, CONSTANT, 60, 1), steep, 1);
    assertArrayEquals(new double[] {-3.12, 0, 4.16}, w.toDoubles(), 1e-14);
    run(new Trainer(DESCENT, CONSTANT, NONE, 1), steep, 1);
    assertArrayEquals(new double[] {-6.12, 0, 8.16}, w.toDoubles(), 1e-14);
  }

  @Test
  void aGradientOfZeroMovesNothing() {
    Tensor w = start(1, 1, 1, 1, 1);
    run(
        new Trainer(DESCENT, CONSTANT, 1, 1),
        objective((scope, step) -> squares(scope, w, 1), scope -> 1),
        3 * STEP);
    assertArrayEquals(new double[] {1, 1, 1, 1, 1}, w.toDoubles());
  }

  @Test
  void theRateFollowsTheShareSpent() {
    Tensor w = start(1, 2, 3, 4, 5);
    Schedule schedule = new Schedule(0.5, 0.2, 0.1);
    run(
        new Trainer(DESCENT, schedule, NONE, 1),
        objective((scope, step) -> squares(scope, w, 0), scope -> 1),
        20 * STEP);
    for (int i = 0; i < 20; i++) {
      assertEquals(schedule.rate(i / 20.0), heard.get(i).rate());
    }
    // The reported rates are those that moved the parameters: d = 2 w / 5.
    double expected = 5;
    for (Progress.Step step : heard) {
      expected *= 1 - step.rate() * 2 / 5;
    }
    assertEquals(expected, w.toDoubles()[4], 1e-12);
  }

  @Test
  void severalListenersHearTheSame() {
    Tensor w = start(1, 2);
    List<Progress.Step> other = new ArrayList<>();
    Progress both = Progress.NONE.and(heard::add).and(other::add);
    new Trainer(DESCENT, CONSTANT, NONE, 2)
        .run(store, objective((scope, step) -> squares(scope, w, 0), scope -> 1), 1000, both);
    assertTrue(heard.size() > 3);
    assertEquals(heard, other);
    for (int i = 1; i < heard.size(); i++) {
      assertTrue(heard.get(i).seconds() >= heard.get(i - 1).seconds());
    }
  }

  @Test
  void refusesWhatItCannotRun() {
    for (double wrong : new double[] {0, -1, Double.NaN}) {
      assertThrows(IllegalArgumentException.class, () -> new Trainer(DESCENT, CONSTANT, wrong, 1));
    }
    assertThrows(IllegalArgumentException.class, () -> new Trainer(DESCENT, CONSTANT, 1, 0));
    Trainer trainer = new Trainer(DESCENT, CONSTANT, 1, 1);
    Objective any = objective((scope, step) -> store.get("w").sum(), scope -> 1);
    assertThrows(IllegalArgumentException.class, () -> run(trainer, any, 100));
    Tensor w = start(1, 2);
    for (long wrong : new long[] {0, -1}) {
      assertThrows(IllegalArgumentException.class, () -> run(trainer, any, wrong));
    }
    Objective rows = objective((scope, step) -> w.mul(w), scope -> 1);
    String message =
        assertThrows(IllegalArgumentException.class, () -> run(trainer, rows, 100)).getMessage();
    assertTrue(message.contains("[2]"), message);
    assertArrayEquals(new double[] {1, 2}, w.toDoubles());
  }
}
