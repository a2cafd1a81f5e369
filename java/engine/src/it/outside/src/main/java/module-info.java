// SPDX-License-Identifier: Apache-2.0
/** A program that uses the engine. */
module example.outside {
  requires ponder.engine;

  exports example.outside;
}
