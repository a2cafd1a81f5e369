// SPDX-License-Identifier: Apache-2.0
package ponder.train;

import java.io.IOException;

/** Reads a JSON text whose form is known, piece by piece. */
final class JsonCursor {
  private static final int DIGITS = 18;

  private final String text;
  private int at;

  /** Begins at the start of a text. */
  JsonCursor(String text) {
    this.text = text;
  }

  private void skipBlanks() {
    while (at < text.length() && " \t\r\n".indexOf(text.charAt(at)) >= 0) {
      at++;
    }
  }

  /** Reads a character if it stands next, and returns whether it did. */
  boolean next(char c) {
    skipBlanks();
    if (at == text.length() || text.charAt(at) != c) {
      return false;
    }
    at++;
    return true;
  }

  /** Reads a character that must stand next. */
  void expect(char c) throws IOException {
    if (!next(c)) {
      throw wrong(Json.quoted(String.valueOf(c)));
    }
  }

  /** Reads a text between quotes. */
  String string() throws IOException {
    expect('"');
    StringBuilder string = new StringBuilder();
    while (at < text.length() && text.charAt(at) >= ' ') {
      char c = text.charAt(at++);
      if (c == '"') {
        return string.toString();
      }
      string.append(c == '\\' ? escaped() : c);
    }
    throw wrong("a closing quote");
  }

  private char escaped() throws IOException {
    int kind = at < text.length() ? "\"\\/bfnrtu".indexOf(text.charAt(at)) : -1;
    if (kind < 0) {
      throw wrong("an escaped character");
    }
    at++;
    if (kind < 8) {
      return "\"\\/\b\f\n\r\t".charAt(kind);
    }
    int code = 0;
    for (int end = at + 4; at < end; at++) {
      int digit = at < text.length() ? Character.digit(text.charAt(at), 16) : -1;
      if (digit < 0) {
        throw wrong("a hexadecimal digit");
      }
      code = 16 * code + digit;
    }
    return (char) code;
  }

  /** Reads a whole number without sign. */
  long whole() throws IOException {
    skipBlanks();
    int start = at;
    long value = 0;
    while (at < text.length() && at < start + DIGITS && isDigit(text.charAt(at))) {
      value = 10 * value + text.charAt(at++) - '0';
    }
    boolean longer = at < text.length() && isDigit(text.charAt(at));
    if (at == start || longer || at > start + 1 && text.charAt(start) == '0') {
      throw wrong("a whole number of at most " + DIGITS + " digits");
    }
    return value;
  }

  /** Reads a whole number of 64 bits, with or without sign. */
  long integer() throws IOException {
    int start = at;
    try {
      return Long.parseLong(word());
    } catch (NumberFormatException e) {
      at = start;
      throw wrong("a whole number");
    }
  }

  /** Reads a number as {@link Json#number} writes it; NaN for null. */
  double real() throws IOException {
    int start = at;
    String word = word();
    try {
      return word.equals("null") ? Double.NaN : Double.parseDouble(word);
    } catch (NumberFormatException e) {
      at = start;
      throw wrong("a number");
    }
  }

  /** Reads what stands before the next blank or mark. */
  private String word() {
    skipBlanks();
    int start = at;
    while (at < text.length() && " \t\r\n\",:[]{}".indexOf(text.charAt(at)) < 0) {
      at++;
    }
    return text.substring(start, at);
  }

  private static boolean isDigit(char c) {
    return c >= '0' && c <= '9';
  }

  /** Checks that nothing but blanks is left. */
  void expectEnd() throws IOException {
    skipBlanks();
    if (at < text.length()) {
      throw wrong("the end");
    }
  }

  /** Returns the exception for something else standing next than this. */
  private IOException wrong(String wanted) {
    String found = at < text.length() ? Json.quoted(text.substring(at, at + 1)) : "the end";
    return new IOException("character " + at + " is " + found + ", must be " + wanted);
  }
}
