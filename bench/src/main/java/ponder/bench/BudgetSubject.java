// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import ponder.Device;
import ponder.Work;
import ponder.lab.paths.Answers;
import ponder.nn.SequenceModel;

/**
 * How many queries a second does a trained model answer in one way, all queries of the exam at
 * once? The model comes from the cache; the gate lets it sit the exam again.
 */
final class BudgetSubject implements Subject {
  /** Of the seeds that the exam is sat with, the one that is timed. */
  private static final long SEED = 0;

  private static final double LATE = 0.95;

  private final Row row;
  private final BudgetCache cache;
  private final BudgetModel of;
  private final int budget;
  private final BudgetWay way;
  private final Device device;
  private final SequenceModel model;
  private final Work work;
  private final List<Long> nanos = new ArrayList<>();
  private Answers answers;

  BudgetSubject(Row row, BudgetCache cache) {
    this.row = row;
    this.cache = cache;
    of = BudgetModel.of(row);
    budget = row.size("budget");
    way = BudgetWay.of(row);
    device = Subjects.open(cache.device(), row.threads());
    model = cache.open(of, budget, SEED, device.store());
    Work before = device.meter().total();
    run();
    work = device.meter().since(before);
  }

  /** Refuses answers that are not, place by place, those of the exam, on one thread and on two. */
  @Override
  public void check(int repeats) {
    BudgetExam.Answered then = exam().of(way);
    same(row.name(), answers, then);
    int threads = row.onOneThread() ? 2 : 1;
    try (Device other = Subjects.open(cache.device(), threads)) {
      SequenceModel again = cache.open(of, budget, SEED, other.store());
      same(
          row.name() + " on " + threads + " threads",
          cache.task().ask(of, SEED, again, other, way),
          then);
    }
  }

  private BudgetExam exam() {
    return cache.read(of, budget, SEED);
  }

  private static void same(String what, Answers answers, BudgetExam.Answered then) {
    BudgetExam.Answered now = BudgetExam.Answered.of(answers);
    Gate.same(what, values(now), values(then));
    if (!now.solved().equals(then.solved()) || now.flops() != then.flops()) {
      throw new RedGate(
          "%s: %s FLOPs a query, solved %s, and was %s, %s"
              .formatted(what, now.flops(), now.solved(), then.flops(), then.solved()));
    }
  }

  private static double[][] values(BudgetExam.Answered answered) {
    return answered.places().stream()
        .map(places -> Arrays.stream(places).asDoubleStream().toArray())
        .toArray(double[][]::new);
  }

  @Override
  public void begin() {
    nanos.clear();
  }

  @Override
  public Object run() {
    long began = System.nanoTime();
    answers = cache.task().ask(of, SEED, model, device, way);
    nanos.add(System.nanoTime() - began);
    return answers;
  }

  @Override
  public Work work() {
    return work;
  }

  @Override
  public long elements() {
    return answers.scores().size();
  }

  @Override
  public double latencyNanos() {
    Collections.sort(nanos);
    return nanos.get((int) Math.ceil(LATE * nanos.size()) - 1);
  }

  @Override
  public void close() {
    device.close();
  }
}
