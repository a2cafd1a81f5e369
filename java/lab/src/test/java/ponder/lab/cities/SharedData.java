// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Assumptions;

/** Data that lie beside the repository, never in it; a test that needs them is skipped without. */
final class SharedData {
  private SharedData() {}

  /** Returns a file of ../shared/data, seen from the repository. */
  static Path file(String name) {
    Path repository = Path.of("").toAbsolutePath();
    while (repository != null
        && !Files.exists(repository.resolve("native").resolve("include").resolve("ponder.h"))) {
      repository = repository.getParent();
    }
    Path file =
        repository == null ? Path.of(name) : repository.resolveSibling("shared/data").resolve(name);
    Assumptions.assumeTrue(Files.exists(file), () -> "skipped: there is no " + file);
    return file;
  }

  static Path cities() {
    return file("us_cities/us_cities.csv.gz");
  }
}
