// SPDX-License-Identifier: Apache-2.0
/** The lab: the command line and the pages. */
module ponder.lab {
  requires de.siegmar.fastcsv;
  requires ponder.engine;
}
