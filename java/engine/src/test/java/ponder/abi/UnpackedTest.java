// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class UnpackedTest {
  private static final String NAME = "ponder/natives/linux-x86_64/libponder_cpu_base.so";

  @TempDir Path directory;

  @Test
  void eachContentHasADirectoryOfItsOwner() throws IOException {
    Unpacked cache = new Unpacked(directory.resolve("a/b"));
    Path first = cache.file(NAME, new byte[] {1, 2, 3});
    Path second = cache.file(NAME, new byte[] {1, 2, 4});
    assertEquals("libponder_cpu_base.so", first.getFileName().toString());
    assertNotEquals(first, second);
    assertArrayEquals(new byte[] {1, 2, 3}, Files.readAllBytes(first));
    assertArrayEquals(new byte[] {1, 2, 4}, Files.readAllBytes(second));
    for (Path p = first.getParent(); !p.equals(directory); p = p.getParent()) {
      assertEquals(
          "rwx------", PosixFilePermissions.toString(Files.getPosixFilePermissions(p)), "" + p);
    }
    assertEquals(
        "039058c6f2c0cb492c533b0a4d14ef77cc0f78abccced5287d84a1a2011cfb81",
        first.getParent().getFileName().toString());
  }

  @Test
  void aFileThatIsThereIsUsedAgainAndAChangedOneReplaced() throws IOException {
    Unpacked cache = new Unpacked(directory);
    byte[] content = {5, 6, 7};
    Path file = cache.file(NAME, content);
    FileTime old = FileTime.fromMillis(1000);
    Files.setLastModifiedTime(file, old);
    assertEquals(file, cache.file(NAME, content));
    assertEquals(old, Files.getLastModifiedTime(file));
    Files.write(file, new byte[] {9});
    cache.file(NAME, content);
    assertArrayEquals(content, Files.readAllBytes(file));
    try (Stream<Path> files = Files.list(file.getParent())) {
      assertEquals(1, files.count());
    }
  }

  @Test
  void aDirectoryOpenToOthersIsRefused() throws IOException {
    Unpacked cache = new Unpacked(directory);
    byte[] content = {5, 6, 7};
    Path file = cache.file(NAME, content);
    Files.setPosixFilePermissions(file.getParent(), PosixFilePermissions.fromString("rwxrwx---"));
    String message = assertThrows(IOException.class, () -> cache.file(NAME, content)).getMessage();
    assertTrue(message.contains("rwxrwx---"), message);
  }

  @Test
  void manyAtOnceGetTheWholeFile() throws Exception {
    Unpacked cache = new Unpacked(directory);
    byte[] content = new byte[1 << 20];
    content[777] = 1;
    try (ExecutorService pool = Executors.newFixedThreadPool(8)) {
      List<Future<byte[]>> read = new ArrayList<>();
      for (int i = 0; i < 32; i++) {
        read.add(pool.submit(() -> Files.readAllBytes(cache.file(NAME, content))));
      }
      for (Future<byte[]> r : read) {
        assertArrayEquals(content, r.get());
      }
    }
  }
}
