// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.channels.Channels;
import java.nio.file.Path;
import java.util.List;
import ponder.lab.cities.PathScore;
import ponder.lab.paths.Answers;
import ponder.train.Trainer;
import ponder.train.WholeFile;

/**
 * A trained model's training and its answers to the exam.
 *
 * @param key everything that determines the model and the answers
 * @param model its title
 * @param budget the number of its training budget
 * @param seed of its parameters and batches
 * @param parameters how many it has
 * @param steps of its training
 * @param trainFlops C_train: what the steps took, by the meter
 * @param validationFlops what choosing among its parameters took, apart
 * @param seconds the training took, validations included
 * @param answers one for each way
 */
record BudgetExam(
    String key,
    String model,
    int budget,
    long seed,
    long parameters,
    long steps,
    double trainFlops,
    double validationFlops,
    double seconds,
    List<Answered> answers) {
  private static final ObjectMapper JSON = new ObjectMapper();

  /**
   * The answers of one way.
   *
   * @param flops c: of a query, all of its draws, rounds and checks
   * @param solved a 1 for each query solved, else a 0
   * @param places the places of each answer
   */
  record Answered(String method, int spend, double flops, String solved, List<int[]> places) {
    static Answered of(Answers answers) {
      StringBuilder solved = new StringBuilder();
      for (PathScore score : answers.scores()) solved.append(score.isSolved() ? '1' : '0');
      return new Answered(
          answers.method(), answers.spend(), answers.flops(), solved.toString(), answers.places());
    }
  }

  static BudgetExam of(
      String key,
      BudgetModel model,
      int budget,
      long seed,
      long parameters,
      Trainer.Outcome training,
      List<Answered> answers) {
    return new BudgetExam(
        key,
        model.title(),
        budget,
        seed,
        parameters,
        training.steps(),
        training.work().flops(),
        training.validationWork().flops(),
        training.seconds(),
        answers);
  }

  /** Returns the answers of a way. */
  Answered of(BudgetWay way) {
    return answers.stream()
        .filter(a -> a.method.equals(way.method()) && a.spend == way.spend())
        .findAny()
        .orElseThrow(() -> new IllegalStateException(model + " was not asked by " + way));
  }

  static BudgetExam read(Path file) throws IOException {
    return JSON.readValue(file.toFile(), BudgetExam.class);
  }

  /** Writes the file, whole or not at all. */
  void write(Path file) throws IOException {
    byte[] text = JSON.writeValueAsBytes(this);
    WholeFile.write(file, channel -> Channels.newOutputStream(channel).write(text));
  }
}
