// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

/** Makes the exceptions whose types belong to the package above this one. */
public interface Failures {
  /** Returns the exception for a device without room, carrying the library's sentence. */
  RuntimeException outOfMemory(String sentence);

  /** Returns the exception for a device that failed, carrying the library's sentence. */
  RuntimeException deviceFailed(String sentence);
}
