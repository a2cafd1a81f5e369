// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The file alone, read as text. */
class HtmlReportTest {
  private static final Pattern DATA =
      Pattern.compile(
          "<script type=\"application/json\" id=\"data\">(.*?)</script>", Pattern.DOTALL);

  @TempDir Path work;

  @Test
  void staysUnderTwoMegabytesWithARealisticRun() throws Exception {
    Path file = work.resolve("report.html");
    HtmlReport.write(file, SampleReport.full(1500, 24, 5));
    long size = Files.size(file);
    assertTrue(size > 200_000 && size < 2_000_000, size + " bytes");
    assertEquals(List.of(file), list(), "nothing else is left");
  }

  @Test
  void holdsNothingThatLoadsFromElsewhere() throws Exception {
    String page = HtmlReport.page(SampleReport.full(300, 1, 1));
    String loading =
        "(?i)(src|href|action|poster|srcset|data)\\s*=\\s*[\"']?\\s*(https?:)?//"
            + "|url\\(\\s*[\"']?\\s*(https?:)?//|@import|\\bimport\\s*\\(|\\bfetch\\s*\\("
            + "|XMLHttpRequest|WebSocket|EventSource|sendBeacon|<(link|iframe|img|object|embed)\\b";
    Matcher found = Pattern.compile(loading).matcher(page);
    assertFalse(found.find(), () -> found.group());
    // Names of XML languages, which nobody fetches, are all the addresses in the script.
    String script = page.substring(page.lastIndexOf("<script>"));
    assertEquals(
        "",
        script
            .replaceAll("https?://www\\.w3\\.org/[0-9a-z/]+", "")
            .replaceAll("(?s)(?!https?://).", ""));
  }

  @Test
  void letsOnlyItsOwnScriptAndStyleRun() throws Exception {
    String page = HtmlReport.page(Map.of());
    Matcher policy =
        Pattern.compile("http-equiv=\"Content-Security-Policy\" content=\"([^\"]*)\"")
            .matcher(page);
    assertTrue(policy.find());
    assertTrue(
        policy
            .group(1)
            .matches(
                "default-src 'none'; script-src 'sha256-[^' ]+'; style-src 'sha256-[^' ]+';"
                    + " base-uri 'none'; form-action 'none'"),
        policy.group(1));
  }

  @Test
  void dataCannotLeaveTheirElement() throws Exception {
    String hostile = "</script><script>alert(1)</script><!-- %data% ]]> \u2028 \"'&";
    String page = HtmlReport.page(Map.of("title", hostile));
    Matcher data = DATA.matcher(page);
    assertTrue(data.find());
    assertFalse(data.group(1).contains("<"), data.group(1));
    assertEquals(hostile, new ObjectMapper().readTree(data.group(1)).get("title").textValue());
  }

  @Test
  void carriesTheLicencesOfWhatIsInIt() throws Exception {
    String page = HtmlReport.page(Map.of());
    Map<String, String> licences =
        Map.of("uplot", "MIT", "d3-geo", "ISC", "topojson-client", "ISC", "us-atlas", "ISC");
    licences.forEach(
        (name, licence) ->
            assertTrue(
                Pattern.compile(
                        "<h3>"
                            + name
                            + " [0-9.]+ \\("
                            + licence
                            + "\\)</h3>\\s*<pre>[^<]*Copyright")
                    .matcher(page)
                    .find(),
                name));
    assertTrue(page.contains("Permission is hereby granted, free of charge"));
    assertTrue(page.contains("Permission to use, copy, modify, and/or distribute"));
  }

  private List<Path> list() throws Exception {
    try (var files = Files.list(work)) {
      return files.toList();
    }
  }
}
