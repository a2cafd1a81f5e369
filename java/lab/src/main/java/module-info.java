// SPDX-License-Identifier: Apache-2.0
/** The lab: the command line and the pages. */
module ponder.lab {
  requires com.fasterxml.jackson.databind;
  requires de.siegmar.fastcsv;
  requires info.picocli;
  requires me.tongfei.progressbar;
  requires org.apache.commons.statistics.distribution;
  requires ponder.engine;

  opens ponder.lab to
      info.picocli;
  opens ponder.lab.frontier to
      com.fasterxml.jackson.databind;
  opens ponder.lab.paths to
      com.fasterxml.jackson.databind;
  opens ponder.lab.statistics to
      com.fasterxml.jackson.databind;
}
