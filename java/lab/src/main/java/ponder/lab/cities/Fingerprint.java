// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.nio.ByteBuffer;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;

/** SHA-256 over numbers, big-endian: the name by which a generated set is known again. */
final class Fingerprint {
  private final MessageDigest digest;
  private final ByteBuffer buffer = ByteBuffer.allocate(1 << 13);

  Fingerprint() {
    try {
      digest = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }

  Fingerprint add(int value) {
    room().putInt(value);
    return this;
  }

  Fingerprint add(double value) {
    room().putDouble(value);
    return this;
  }

  /** Returns 64 hexadecimal digits; nothing may be added afterwards. */
  String text() {
    digest.update(buffer.flip());
    return HexFormat.of().formatHex(digest.digest());
  }

  private ByteBuffer room() {
    if (buffer.remaining() < Double.BYTES) {
      digest.update(buffer.flip());
      buffer.clear();
    }
    return buffer;
  }
}
