// SPDX-License-Identifier: Apache-2.0
package ponder.lab.masks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.Map;
import org.junit.jupiter.api.Test;
import ponder.DType;
import ponder.Device;
import ponder.Key;
import ponder.Store;
import ponder.nn.Encoder;
import ponder.nn.Heads;
import ponder.nn.Parameters;
import ponder.op.Masking;

/** Estimates of a gradient against their definition, on a sentence of six words. */
class SentenceStudyTest {
  private static final int WORDS = 6;
  private static final int MASKED = 2;
  private static final int DRAWS = 20_000;

  private interface Use {
    void of(Device device, SentenceStudy study);
  }

  private static void study(Use use) {
    try (Device device = Device.cpu(1);
        Store store = device.store()) {
      Parameters p = Parameters.of(store, DType.F64, Key.of(3));
      Encoder model = Encoder.create(p, WORDS + 1, 1, 8, Heads.of(2));
      var gradients = TokenGradients.of(device, store, model, WORDS, 0, 1, 2, 3, 4, 5);
      use.of(device, new SentenceStudy(gradients, MASKED));
    }
  }

  @Test
  void weightsOfWholeSetsLeaveNoBias() {
    study(
        (device, study) -> {
          Map<String, SentenceStudy.Outcome> all = study.enumerated();
          for (String name :
              new String[] {
                "uniform",
                "partition",
                "conditional Poisson, sets",
                "conditional Poisson, sets, half",
                "best over sets"
              }) {
            double bias = Math.sqrt(all.get(name).squaredBias() / study.size());
            assertTrue(bias <= 1e-12, name + ": " + bias);
          }
          double words = all.get("conditional Poisson, words").squaredBias() / study.size();
          assertTrue(words > 1e-8, "words alone: " + words);
        });
  }

  @Test
  void noChoiceOfSetsHasLessVarianceThanTheBest() {
    study(
        (device, study) -> {
          Map<String, SentenceStudy.Outcome> all = study.enumerated();
          double uniform = all.get("uniform").variance() + study.size();
          double best = all.get("best over sets").variance() + study.size();
          assertEquals(study.ceiling(), uniform / best, 1e-9);
          assertTrue(all.get("conditional Poisson, sets").variance() + study.size() >= best);
        });
  }

  /** What the sampler draws has the moments that were enumerated, within 4 standard errors. */
  @Test
  void theSamplersDrawsHaveTheEnumeratedMoments() {
    study(
        (device, study) -> {
          Map<String, SentenceStudy.Outcome> all = study.enumerated();
          compare(device, study, Masking.Scheme.BERNOULLI, all.get("bernoulli"));
          compare(device, study, Masking.Scheme.POISSON, all.get("poisson"));
          compare(device, study, Masking.Scheme.CONDITIONAL, all.get("conditional Poisson, words"));
        });
  }

  private static void compare(
      Device device, SentenceStudy study, Masking.Scheme scheme, SentenceStudy.Outcome exact) {
    DrawnSets sets = DrawnSets.of(device, scheme, Key.of(5), DRAWS, MASKED, study.logNorms());
    SentenceStudy.Outcome drawn = study.drawn(sets.chosen(), sets.weight(), false);
    double distance = Math.sqrt(drawn.squaredBias()) - Math.sqrt(exact.squaredBias());
    assertTrue(Math.abs(distance) <= 4 * drawn.biasError(), scheme + ": bias off by " + distance);
    assertEquals(1, drawn.variance() / exact.variance(), 0.1, scheme + ": variance");
  }

  @Test
  void symmetricSumsAreSumsOfProducts() {
    double[] weight = {0.5, 2, 0.25, 3, 1};
    for (int size = 0; size <= weight.length; size++) {
      double sum = 0;
      for (int set : Subsets.ofSize(weight.length, size)) sum += Subsets.product(weight, set);
      assertEquals(sum, Subsets.symmetric(weight, size), 1e-12 * sum);
    }
  }
}
