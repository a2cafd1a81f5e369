// SPDX-License-Identifier: Apache-2.0
package ponder;

/** A device has no room for an allocation, within its memory limit or at all. */
public final class DeviceOutOfMemoryException extends RuntimeException {
  private static final long serialVersionUID = 1;

  DeviceOutOfMemoryException(String message) {
    super(message);
  }
}
