// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.io.IOException;
import java.nio.file.FileSystems;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Set;

/**
 * Libraries unpacked from a jar, each in a directory named by the hash of its content, which none
 * but its owner may read or write.
 *
 * @param root the directory of all of them
 */
public record Unpacked(Path root) {
  /** The system property that names the directory. */
  public static final String PROPERTY = "ponder.cache.dir";

  /** Returns the directory of this process: the property, or {@code ponder} in the user's cache. */
  public static Unpacked ofProcess() {
    String named = System.getProperty(PROPERTY);
    if (named != null) {
      return new Unpacked(Path.of(named));
    }
    // The convention of freedesktop.org asks for an absolute path and to ignore any other.
    String cache = System.getenv("XDG_CACHE_HOME");
    Path home =
        cache != null && Path.of(cache).isAbsolute()
            ? Path.of(cache)
            : Path.of(System.getProperty("user.home"), ".cache");
    return new Unpacked(home.resolve("ponder"));
  }

  /**
   * Returns a file of this content, written whole or not at all.
   *
   * @param resource its name in the jar; the file has the same last part
   */
  Path file(String resource, byte[] content) throws IOException {
    boolean posix = FileSystems.getDefault().supportedFileAttributeViews().contains("posix");
    FileAttribute<?>[] attributes =
        posix
            ? new FileAttribute<?>[] {
              PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"))
            }
            : new FileAttribute<?>[0];
    Path directory = root.resolve("natives").resolve(hash(content));
    if (!Files.isDirectory(directory)) {
      Files.createDirectories(directory.getParent(), attributes);
      Files.createDirectories(directory, attributes);
    }
    Path file = directory.resolve(Path.of(resource).getFileName());
    Path written = Files.createTempFile(directory, "unpacking", ".tmp");
    try {
      if (posix) {
        requirePrivate(directory, written);
      }
      if (Files.isRegularFile(file) && Arrays.equals(Files.readAllBytes(file), content)) {
        return file;
      }
      Files.write(written, content);
      Files.move(
          written, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
      return file;
    } finally {
      Files.deleteIfExists(written);
    }
  }

  /** Refuses a directory that someone else could have put a library into. */
  private static void requirePrivate(Path directory, Path mine) throws IOException {
    Set<PosixFilePermission> permissions = Files.getPosixFilePermissions(directory);
    if (!permissions.equals(PosixFilePermissions.fromString("rwx------"))) {
      throw new IOException(
          directory
              + " has permissions "
              + PosixFilePermissions.toString(permissions)
              + ", must be rwx------");
    }
    if (!Files.getOwner(directory).equals(Files.getOwner(mine))) {
      throw new IOException(directory + " belongs to " + Files.getOwner(directory));
    }
  }

  private static String hash(byte[] content) {
    try {
      return HexFormat.of().formatHex(MessageDigest.getInstance("SHA-256").digest(content));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
