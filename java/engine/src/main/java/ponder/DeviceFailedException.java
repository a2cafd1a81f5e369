// SPDX-License-Identifier: Apache-2.0
package ponder;

/** A device failed in a way that no argument explains; it may be unusable from now on. */
public final class DeviceFailedException extends RuntimeException {
  private static final long serialVersionUID = 1;

  DeviceFailedException(String message) {
    super(message);
  }

  DeviceFailedException(String message, Throwable cause) {
    super(message, cause);
  }
}
