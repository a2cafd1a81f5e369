// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FolderLockTest {
  @TempDir Path folder;

  @Test
  void isTakenOnceAndGivenBack() throws IOException {
    for (int i = 0; i < 2; i++) {
      FolderLock own = FolderLock.take(folder).orElseThrow();
      assertTrue(FolderLock.take(folder).isEmpty());
      assertTrue(FolderLock.take(folder.resolve(".")).isEmpty());
      own.close();
    }
  }

  @Test
  void needsTheFolder() {
    assertThrows(NoSuchFileException.class, () -> FolderLock.take(folder.resolve("none")));
  }
}
