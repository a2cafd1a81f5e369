// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Model.CommandSpec;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.Spec;
import ponder.Device;
import ponder.lab.masks.Corpus;
import ponder.lab.pages.masks.MasksPage;

/** {@code ponder masks}: what it wins to mask the words from which a model learns the most. */
@Command(
    name = "masks",
    description = {
      "Takes the gradients of every set of masked words of some sentences and compares the schemes",
      "that choose sets: the bias and the variance of what they estimate, and what choosing costs."
    },
    mixinStandardHelpOptions = true,
    sortOptions = false)
final class MasksCommand implements Callable<Integer> {
  private static final int QUICK_SENTENCES = 1;
  private static final int SENTENCES = 8;

  @Spec private CommandSpec spec;

  @Mixin private DeviceOption device = new DeviceOption();

  @Option(names = "--quick", description = "a small run of a few seconds")
  private boolean quick;

  @Option(names = "--out", paramLabel = "DIR", description = "folder of the result (out/masks)")
  private Path folder = Path.of("out/masks");

  @Option(
      names = "--text",
      paramLabel = "FILE",
      description = "runs of ten words of a text instead of the grammar's sentences")
  private Path text;

  @Option(
      names = "--budget",
      paramLabel = "FLOPS",
      description = "training FLOPs of the encoder (default: 2e10; quick: 1e9)")
  private Double budget;

  @Option(
      names = "--sentences",
      paramLabel = "N",
      description = "how many sentences are studied (default: 8; quick: 1)")
  private Integer sentences;

  @Option(names = "--seed", paramLabel = "N", description = "of everything random (default: 1)")
  private long seed = 1;

  MasksCommand() {}

  @Override
  public Integer call() throws IOException {
    double flops = budget != null ? budget : quick ? 1e9 : 2e10;
    require(flops >= 1e6 && flops < 1e18, "--budget", flops, "in [1e6, 1e18)");
    require(sentences == null || sentences >= 1, "--sentences", sentences, "at least 1");
    require(text == null || !Files.isDirectory(text), "--text", text, "a file, not a folder");
    Corpus corpus = text == null ? Corpus.grammar() : Corpus.text(text);
    Files.createDirectories(folder);
    var options =
        new MasksPage.Options(
            corpus,
            (long) flops,
            sentences != null ? sentences : quick ? QUICK_SENTENCES : SENTENCES,
            3,
            quick ? 1_000 : 10_000,
            quick ? 3 : 21,
            seed,
            command());
    try (Device device = this.device.open()) {
      Path file = folder.resolve("results.json");
      new MasksPage(device, options, System.out).run().write(file);
      System.out.println("Everything measured is in " + file + ".");
    }
    return 0;
  }

  private String command() {
    List<String> words = spec.commandLine().getParseResult().originalArgs();
    return ("ponder masks " + String.join(" ", words)).strip();
  }

  private void require(boolean holds, String option, Object value, String rule) {
    if (holds) return;
    throw new ParameterException(
        spec.commandLine(), option + " is " + value + ", must be " + rule + ".");
  }
}
