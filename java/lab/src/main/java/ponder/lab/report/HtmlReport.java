// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.channels.Channels;
import java.nio.file.Path;
import ponder.train.WholeFile;

/**
 * A report to look at: one HTML file with plots, a map and tables that needs nothing but itself.
 *
 * <p>The page is built from {@code src/main/web} and lies beside this class; a report is that page
 * with the data in it, as JSON.
 */
public final class HtmlReport {
  private static final String PAGE = "report.html";
  private static final String PLACE = "%data%";

  private HtmlReport() {}

  /**
   * Writes a report, whole or not at all.
   *
   * @param file where it goes; a former file is replaced
   * @param data what Jackson can write: the title, verdicts, curves, contours, map and so on, by the
   *     names that the page knows; what is absent or null was not measured
   * @throws IOException if the file cannot be written, with its name and the reason
   */
  public static void write(Path file, Object data) throws IOException {
    byte[] text = page(data).getBytes(UTF_8);
    WholeFile.write(file, channel -> Channels.newOutputStream(channel).write(text));
  }

  /** Returns the page with the data in it. */
  static String page(Object data) throws IOException {
    String page = page();
    int place = page.indexOf(PLACE);
    if (place < 0 || page.indexOf(PLACE, place + 1) >= 0) {
      throw new IllegalStateException(PAGE + " must have one place for the data: " + PLACE);
    }
    return page.substring(0, place) + json(data) + page.substring(place + PLACE.length());
  }

  /** Returns JSON that an HTML script element may hold: no tag and no comment can begin in it. */
  private static String json(Object data) throws IOException {
    ObjectMapper mapper = new ObjectMapper();
    JsonNode tree = mapper.valueToTree(data);
    return mapper.writeValueAsString(Packed.of(tree)).replace("<", "\\u003c");
  }

  private static String page() throws IOException {
    try (InputStream in = HtmlReport.class.getResourceAsStream(PAGE)) {
      if (in == null) {
        throw new IllegalStateException(PAGE + " is missing in this build");
      }
      return new String(in.readAllBytes(), UTF_8);
    }
  }
}
