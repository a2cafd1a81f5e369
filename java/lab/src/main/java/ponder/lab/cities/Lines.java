// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;

/**
 * Lines of text whose encoding is not told. A line that is not UTF-8 is read as Latin-1, the
 * Gazetteer's encoding in 2010; no accented Latin-1 name is valid UTF-8 by chance.
 */
final class Lines {
  private final InputStream in;
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(256);
  private long number;

  /** Reads a buffered stream, which stays the caller's to close. */
  Lines(InputStream in) {
    this.in = in;
  }

  /** Returns the next line without its LF, or null at the end of the file. */
  String next() throws IOException {
    bytes.reset();
    int read = in.read();
    if (read < 0) {
      return null;
    }
    for (; read >= 0 && read != '\n'; read = in.read()) {
      bytes.write(read);
    }
    number++;
    return decoded(bytes.toByteArray());
  }

  /** Returns the number of the line last read, from 1. */
  long number() {
    return number;
  }

  private static String decoded(byte[] bytes) {
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString();
      return text.startsWith("\uFEFF") ? text.substring(1) : text;
    } catch (CharacterCodingException e) {
      return new String(bytes, StandardCharsets.ISO_8859_1);
    }
  }
}
