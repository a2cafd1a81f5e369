// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import java.io.IOException;
import java.nio.channels.FileChannel;
import java.nio.channels.FileLock;
import java.nio.channels.OverlappingFileLockException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Optional;

/**
 * A folder that one run uses alone. The system holds the lock and lets it go with the process,
 * however that ends, so the file that stays behind says nothing.
 */
final class FolderLock implements AutoCloseable {
  private static final String FILE = "run.lock";

  private final FileChannel channel;

  private FolderLock(FileChannel channel) {
    this.channel = channel;
  }

  /**
   * Takes a folder; empty if another run has it.
   *
   * @param folder must be there
   */
  static Optional<FolderLock> take(Path folder) throws IOException {
    Path file = folder.resolve(FILE);
    FileChannel channel =
        FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    boolean taken = false;
    try {
      FileLock lock = channel.tryLock();
      taken = lock != null;
    } catch (OverlappingFileLockException e) {
      // A run of this very process has it.
    } catch (IOException e) {
      throw new IOException(file + ": cannot be locked: " + e.getMessage(), e);
    } finally {
      if (!taken) {
        channel.close();
      }
    }
    return taken ? Optional.of(new FolderLock(channel)) : Optional.empty();
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
