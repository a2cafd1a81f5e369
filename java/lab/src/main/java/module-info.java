// SPDX-License-Identifier: Apache-2.0
/** The lab: the command line and the pages. */
@SuppressWarnings("module") // ponder.bench is compiled after this module
module ponder.lab {
  requires com.fasterxml.jackson.databind;
  requires de.siegmar.fastcsv;
  requires info.picocli;
  requires me.tongfei.progressbar;
  requires org.apache.commons.statistics.distribution;
  requires ponder.engine;

  exports ponder.lab.cities to
      ponder.bench;
  exports ponder.lab.frontier to
      ponder.bench;
  exports ponder.lab.paths to
      ponder.bench;
  exports ponder.lab.statistics to
      ponder.bench;

  opens ponder.lab to
      info.picocli;
  opens ponder.lab.frontier to
      com.fasterxml.jackson.databind;
  opens ponder.lab.masks to
      com.fasterxml.jackson.databind;
  opens ponder.lab.paths to
      com.fasterxml.jackson.databind;
  opens ponder.lab.statistics to
      com.fasterxml.jackson.databind;
}
