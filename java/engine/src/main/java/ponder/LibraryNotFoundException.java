// SPDX-License-Identifier: Apache-2.0
package ponder;

/** No library for this machine was found; the message says what was looked for and where. */
public final class LibraryNotFoundException extends RuntimeException {
  private static final long serialVersionUID = 1;

  LibraryNotFoundException(String message) {
    super(message);
  }
}
