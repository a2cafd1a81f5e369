// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.io.IOException;

/** A file of places that cannot be read as one; the message is one sentence. */
public final class CityFileException extends IOException {
  private static final long serialVersionUID = 1;

  /** The file as a whole, in words such as {@code towns.csv is empty}. */
  CityFileException(String file, String fault) {
    super(file + " " + fault);
  }

  /** One value of it. */
  CityFileException(String file, long line, String column, String value, String rule) {
    super(file + ", line " + line + ", column " + column + ": \"" + value + "\" " + rule);
  }
}
