// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import static java.nio.file.StandardCopyOption.ATOMIC_MOVE;
import static java.nio.file.StandardCopyOption.REPLACE_EXISTING;
import static java.nio.file.StandardOpenOption.CREATE;
import static java.nio.file.StandardOpenOption.READ;
import static java.nio.file.StandardOpenOption.TRUNCATE_EXISTING;
import static java.nio.file.StandardOpenOption.WRITE;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.file.FileSystemException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * A file that is there whole or not at all, even after a loss of power: it is made beside its
 * place, as {@code FILE.part}, forced to the disk and then moved over the former file.
 */
public final class WholeFile {
  private WholeFile() {}

  /** Writes what the file shall hold. */
  @FunctionalInterface
  public interface Content {
    /** Writes into an empty file. */
    void write(FileChannel channel) throws IOException;
  }

  /**
   * Writes the file.
   *
   * @throws IOException if it cannot be written, with its name and the reason; the former file, if
   *     any, is untouched
   */
  public static void write(Path file, Content content) throws IOException {
    Path draft = file.resolveSibling(file.getFileName() + ".part");
    try {
      try (FileChannel channel = FileChannel.open(draft, CREATE, TRUNCATE_EXISTING, WRITE)) {
        content.write(channel);
        channel.force(true);
      }
      Files.move(draft, file, ATOMIC_MOVE, REPLACE_EXISTING);
      // The move itself is safe once the folder is on the disk.
      try (FileChannel folder = FileChannel.open(file.toAbsolutePath().getParent(), READ)) {
        folder.force(true);
      }
    } catch (FileSystemException e) {
      throw e;
    } catch (IOException e) {
      throw new IOException(file + ": " + e.getMessage(), e);
    } finally {
      Files.deleteIfExists(draft);
    }
  }
}
