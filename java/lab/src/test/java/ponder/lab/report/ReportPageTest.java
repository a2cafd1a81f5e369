// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import de.siegmar.fastcsv.reader.CsvReader;
import de.siegmar.fastcsv.reader.NamedCsvRecord;
import java.io.IOException;
import java.io.StringReader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.List;
import java.util.TreeSet;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.openqa.selenium.Keys;
import org.openqa.selenium.WebElement;

/** The page in a browser, as its readers see and use it. */
class ReportPageTest {
  private static final ObjectNode SAMPLE = SampleReport.full(400, 4, 1);

  @TempDir static Path work;
  private static Browser browser;
  private static Path sample;

  @BeforeAll
  static void openTheBrowser() throws IOException {
    if (!Browser.isThere()) {
      System.out.println("The report's page is not tested: " + Browser.NEEDED);
      return;
    }
    browser = Browser.start(work);
    sample = write("sample", SAMPLE);
  }

  /** Test by test, so that each is counted as skipped. */
  @BeforeEach
  void skipWithoutABrowser() {
    assumeTrue(browser != null, "skipped: " + Browser.NEEDED);
  }

  @AfterAll
  static void closeTheBrowser() {
    if (browser != null) {
      browser.close();
    }
  }

  private static Path write(String name, ObjectNode report) throws IOException {
    Path file = work.resolve(name + ".html");
    HtmlReport.write(file, report);
    return file;
  }

  @Test
  void fetchesNothing() throws Exception {
    browser.log(Browser.PERFORMANCE);
    browser.log(Browser.CONSOLE);
    browser.open(sample, 1440, "light");
    browser.save("frontier.svg");
    String own = sample.toUri().toString();
    List<String> requests =
        browser.log(Browser.PERFORMANCE).stream()
            .filter(message -> message.contains("\"Network.requestWillBeSent\""))
            .map(
                message ->
                    message.replaceAll("(?s).*?\"request\":\\{.*?\"url\":\"([^\"]*)\".*", "$1"))
            .filter(url -> !url.startsWith("blob:"))
            .toList();
    assertEquals(List.of(own), requests);
    assertEquals(List.of(), browser.log(Browser.CONSOLE));
    assertEquals(0L, browser.run("return performance.getEntriesByType('resource').length"));
  }

  @Test
  void theSliderMovesThePath() {
    browser.open(sample, 1440, "light");
    browser.choose(
        ".lists label:nth-child(1)", browser.texts(".lists label:first-child option").get(1));
    browser.choose(".lists label:nth-child(2)", "sample-large");
    browser.choose(".lists label:nth-child(3)", "1/64");
    browser.choose(".lists label:nth-child(4)", "beam");
    WebElement slider = browser.find("#spend");
    slider.sendKeys(Keys.HOME);
    TreeSet<String> drawn = new TreeSet<>();
    for (int i = 0; i < SampleReport.SPENDS.length; i++) {
      JsonNode answer = answer(1, "sample-large", 0.015625, "beam", SampleReport.SPENDS[i]);
      assertEquals(stations(answer), browser.find(".predicted-path").getText().replace("⇢", "→"));
      assertEquals(
          yes(answer, "legal") + yes(answer, "solved") + yes(answer, "optimal"),
          String.join("", browser.texts(".facts dd").subList(0, 3)));
      String spent = browser.find(".spent").getText();
      assertTrue(spent.startsWith(SampleReport.SPENDS[i] + "×, "), spent);
      assertTrue(slider.getDomAttribute("aria-valuetext").startsWith(spent));
      assertEquals(
          Math.max(0, answer.get("path").size() - 1),
          browser.texts(".chart .answer path").size(),
          "steps on the map");
      drawn.add(
          (String)
              browser.run(
                  "return [...document.querySelectorAll('.chart .answer path')]"
                      + ".map((p) => p.getAttribute('d')).join(' ')"));
      slider.sendKeys(Keys.ARROW_RIGHT);
    }
    assertTrue(drawn.size() > 2, drawn.size() + " different paths over 7 spends");
  }

  @Test
  void theCloseUpShowsThePathsLarger() {
    browser.open(sample, 1440, "light");
    String whole = drawnTruth();
    browser.find(".near input").sendKeys(Keys.SPACE);
    assertNotEquals(whole, drawnTruth());
  }

  private static String drawnTruth() {
    return (String) browser.run("return document.querySelector('.chart .truth').getAttribute('d')");
  }

  @Test
  void tablesSortByAClickAndFromTheKeyboard() {
    browser.open(sample, 1440, "light");
    for (String table : List.of("points", "training", "break-even", "equal-total")) {
      int columns = browser.texts("#" + table + " thead th").size();
      for (int column = 1; column <= columns; column++) {
        String head = "#" + table + " thead th:nth-child(" + column + ")";
        WebElement button = browser.find(head + " button");
        browser.run("arguments[0].scrollIntoView({block: 'center'})", button);
        button.click();
        assertEquals("ascending", browser.find(head).getDomAttribute("aria-sort"));
        assertSorted(table, column, false);
        button.sendKeys(Keys.ENTER);
        assertEquals("descending", browser.find(head).getDomAttribute("aria-sort"));
        assertSorted(table, column, true);
        button.sendKeys(Keys.SPACE);
        assertSorted(table, column, false);
        assertEquals(1, browser.texts("#" + table + " [aria-sort]").size());
      }
    }
  }

  @Test
  void theSplitIsExplainedFirstAndTheOthersOnRequest() {
    browser.open(sample, 1440, "light");
    assertEquals(
        List.of("The clean split. What clean holds out, in words."), browser.texts(".split > p"));
    WebElement others = browser.find(".split dl");
    assertFalse(others.isDisplayed());
    browser.find(".split summary").sendKeys(Keys.ENTER);
    assertTrue(others.isDisplayed());
    assertEquals(List.of("ordered", "longer-path"), browser.texts(".split dt"));
    assertEquals("What longer-path holds out, in words.", browser.texts(".split dd").get(1));
  }

  @Test
  void longTablesGrowAsTheyAreScrolledAndShrinkToWhatIsAskedFor() {
    browser.open(sample, 1440, "light");
    int rows = SAMPLE.get("rows").size();
    int before = browser.texts("#rows tbody tr").size();
    assertTrue(before < rows, before + " of " + rows);
    for (int i = 0; i < 10; i++) {
      browser.run(
          "const s = document.querySelector('#rows .scroll'); s.scrollTop = s.scrollHeight");
      browser.run("return new Promise((done) => requestAnimationFrame(() => done(0)))");
    }
    assertEquals(rows, browser.texts("#rows tbody tr").size());
    browser.find("#rows input").sendKeys("LARGE beam");
    List<String> left = browser.texts("#rows tbody tr");
    assertEquals(4 * 7, left.size());
    assertTrue(left.stream().allMatch(r -> r.contains("sample-large") && r.contains("beam")));
    assertEquals("28 of " + rows + " rows", browser.find("#rows output").getText());
  }

  /** Numbers as numbers, words as words, what was not measured last. */
  private static void assertSorted(String table, int column, boolean descending) {
    List<String> shown =
        browser.texts("#" + table + " tbody tr > :nth-child(" + column + ")").stream()
            .map(text -> text.replaceAll("(?<=\\d)\\u202f(?=\\d)", ""))
            .toList();
    List<String> measured = new ArrayList<>(shown);
    measured.removeIf("–"::equals);
    assertEquals(measured, shown.subList(0, measured.size()), "the unmeasured are last");
    Comparator<String> order =
        measured.stream().allMatch(text -> text.matches("[−\\d].*"))
            ? Comparator.comparingDouble(ReportPageTest::number)
            : String.CASE_INSENSITIVE_ORDER;
    List<String> expected = new ArrayList<>(measured);
    expected.sort(descending ? Collections.reverseOrder(order) : order);
    assertTrue(measured.size() > 1);
    for (int i = 0; i < measured.size(); i++) {
      assertEquals(0, order.compare(expected.get(i), measured.get(i)), table + " " + measured);
    }
  }

  /** Reads 1.25 × 10⁶ and −3.1 alike, up to the interval behind them. */
  private static double number(String text) {
    String raised = "⁰¹²³⁴⁵⁶⁷⁸⁹";
    StringBuilder plain = new StringBuilder();
    String first = text.replace("\u202f×\u202f10", "e").replace('−', '-').replace('⁻', '-');
    for (char c : first.split(" ")[0].toCharArray()) {
      plain.append(raised.indexOf(c) < 0 ? String.valueOf(c) : raised.indexOf(c));
    }
    return Double.parseDouble(plain.toString());
  }

  @Test
  void savedTablesHoldTheNumbersOfTheData() throws Exception {
    browser.open(sample, 1440, "light");
    List<NamedCsvRecord> rows = csv("frontier.csv");
    int curves = 0;
    for (JsonNode curve : SAMPLE.get("curves")) {
      List<NamedCsvRecord> own =
          rows.stream()
              .filter(r -> r.getField("model").equals(curve.get("model").textValue()))
              .filter(r -> r.getField("method").equals(curve.get("method").textValue()))
              .filter(
                  r ->
                      Double.parseDouble(r.getField("fraction"))
                          == curve.get("fraction").asDouble())
              .toList();
      for (int i = 0; i < own.size(); i++) {
        JsonNode point = curve.get("points").get(i);
        assertEquals(point.get("testFlops").asDouble(), field(own.get(i), "testFlops"), 1);
        assertEquals(
            point.get("solved").get("value").asDouble(), field(own.get(i), "solved"), 1e-9);
        assertEquals(
            point.get("solved").get("low").asDouble(), field(own.get(i), "solvedLow"), 1e-9);
        assertEquals(
            point.get("optimal").get("high").asDouble(), field(own.get(i), "optimalHigh"), 1e-9);
      }
      curves += own.isEmpty() ? 0 : 1;
    }
    assertTrue(curves >= 12, curves + " curves shown at first");

    List<NamedCsvRecord> kappa = csv("kappa.csv");
    assertEquals(SAMPLE.get("kappa").size(), kappa.size());
    assertEquals(
        SAMPLE.get("kappa").get(4).get("kappa").get("low").asDouble(),
        field(kappa.get(4), "kappaLow"),
        1e-9);

    List<NamedCsvRecord> totals = csv("equal-total.csv");
    assertEquals(SAMPLE.get("equalTotals").size(), totals.size());
    for (int i = 0; i < totals.size(); i++) {
      JsonNode total = SAMPLE.get("equalTotals").get(i);
      NamedCsvRecord row = totals.get(i);
      assertEquals(total.get("queries").asDouble(), field(row, "queries"));
      assertEquals(total.get("verdict").textValue(), row.getField("verdict"));
      if (total.get("spend").isNull()) {
        assertEquals("", row.getField("spend") + row.getField("difference"));
      } else {
        assertEquals(total.get("spend").asDouble(), field(row, "spend"));
        assertEquals(
            total.get("difference").get("high").asDouble(), field(row, "differenceHigh"), 1e-9);
      }
    }

    List<NamedCsvRecord> path = csv("path-map.csv");
    List<String> truth = new ArrayList<>();
    SAMPLE.get("map").get("queries").get(0).get("truth").forEach(c -> truth.add(c.asText()));
    assertEquals(
        truth,
        path.stream()
            .filter(r -> r.getField("path").equals("true"))
            .map(r -> r.getField("city"))
            .toList());
    assertTrue(path.stream().anyMatch(r -> r.getField("path").equals("predicted")));
  }

  private static double field(NamedCsvRecord row, String name) {
    return Double.parseDouble(row.getField(name));
  }

  private static List<NamedCsvRecord> csv(String name) throws Exception {
    try (CsvReader<NamedCsvRecord> reader =
        CsvReader.builder().ofNamedCsvRecord(new StringReader(browser.save(name)))) {
      return StreamSupport.stream(reader.spliterator(), false).toList();
    }
  }

  @Test
  void savedPicturesHoldThePoints() throws Exception {
    browser.open(sample, 1440, "dark");
    List<String> places =
        svg(
            "frontier.svg",
            "[...picture.querySelectorAll('path[transform] > title')]"
                + ".map((title) => title.parentElement.getAttribute('transform'))");
    List<NamedCsvRecord> rows = csv("frontier.csv");
    // A mark's place is linear in the logarithm of the FLOPs and in the share.
    List<double[]> marks = new ArrayList<>();
    List<double[]> points = new ArrayList<>();
    for (String place : places) {
      String[] parts = place.replaceAll("[^0-9.,-]", "").split(",");
      marks.add(new double[] {Double.parseDouble(parts[0]), Double.parseDouble(parts[1])});
    }
    rows.forEach(
        r -> points.add(new double[] {Math.log(field(r, "testFlops")), field(r, "solved")}));
    assertEquals(rows.size(), marks.size());
    for (int axis = 0; axis < 2; axis++) {
      int a = extreme(points, axis, 1);
      int b = extreme(points, axis, -1);
      double scale =
          (marks.get(a)[axis] - marks.get(b)[axis]) / (points.get(a)[axis] - points.get(b)[axis]);
      assertTrue(axis == 0 ? scale > 0 : scale < 0);
      for (int i = 0; i < marks.size(); i++) {
        double expected = marks.get(b)[axis] + scale * (points.get(i)[axis] - points.get(b)[axis]);
        assertEquals(expected, marks.get(i)[axis], 0.02);
      }
    }
    String legend = "[...picture.querySelectorAll('text')].map((text) => text.textContent)";
    assertTrue(svg("contours.svg", legend).contains("sample-large, beam"));
    assertTrue(svg("throughput.svg", legend).contains("90\u202f% solved"));
    List<String> label =
        svg("path-map.svg", "[picture.documentElement.getAttribute('aria-label')]");
    assertTrue(label.getFirst().contains("the true path and that of sample-small"), "" + label);
  }

  private static int extreme(List<double[]> points, int axis, int sign) {
    int best = 0;
    for (int i = 1; i < points.size(); i++) {
      if (sign * (points.get(i)[axis] - points.get(best)[axis]) > 0) {
        best = i;
      }
    }
    return best;
  }

  /** Returns what an expression finds in a saved picture; that it is XML is checked first. */
  @SuppressWarnings("unchecked")
  private static List<String> svg(String name, String expression) throws Exception {
    String parse =
        "const picture = new DOMParser().parseFromString(arguments[0], 'image/svg+xml');"
            + "if (picture.querySelector('parsererror')) { throw new Error('not XML'); } return ";
    return (List<String>) browser.run(parse + expression, browser.save(name));
  }

  @Test
  void plotsAreReadFromTheKeyboard() {
    browser.open(sample, 1440, "light");
    WebElement plot = browser.find("#frontier .canvas");
    plot.sendKeys(Keys.ARROW_RIGHT);
    String first = browser.find("#frontier .reading").getText();
    assertTrue(first.startsWith("sample-small, "), first);
    plot.sendKeys(Keys.ARROW_RIGHT);
    String second = browser.find("#frontier .reading").getText();
    plot.sendKeys(Keys.ARROW_DOWN);
    String other = browser.find("#frontier .reading").getText();
    assertEquals(3, new TreeSet<>(List.of(first, second, other)).size(), first + second + other);
  }

  @Test
  void chipsChooseTheCurves() throws Exception {
    browser.open(sample, 1440, "light");
    int before = csv("frontier.csv").size();
    browser.find("#frontier .chips:nth-child(2) label:nth-of-type(1) input").sendKeys(Keys.SPACE);
    List<NamedCsvRecord> after = csv("frontier.csv");
    assertTrue(after.size() < before);
    assertTrue(after.stream().noneMatch(r -> r.getField("model").equals("sample-small")));
  }

  @Test
  void fitsAPhoneAndADeskInLightAndDark() {
    for (String scheme : List.of("light", "dark")) {
      for (int width : new int[] {390, 768, 1440}) {
        browser.open(sample, width, scheme);
        String at = scheme + " at " + width;
        assertEquals((long) width, browser.run("return innerWidth"), at);
        assertTrue(
            (long) browser.run("return document.documentElement.scrollWidth") <= width,
            at + " scrolls sideways");
        assertEquals(List.of(), browser.run(CONTRAST), at);
      }
    }
  }

  /** Returns the texts whose contrast with what is behind them is below 4.5 (WCAG 2.2, 1.4.3). */
  private static final String CONTRAST =
      """
      const parse = (text) => (text.match(/[\\d.]+/g) ?? []).map(Number);
      const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
      const mix = (top, below, alpha) => top.map((c, i) => c * alpha + below[i] * (1 - alpha));
      const behind = (element) => {
        for (let e = element; e; e = e.parentElement) {
          const colour = parse(getComputedStyle(e).backgroundColor);
          if (colour.length === 3 || colour[3] === 1) {
            return colour.slice(0, 3);
          }
        }
        throw new Error('no background');
      };
      const opacity = (element) => {
        let all = 1;
        for (let e = element; e; e = e.parentElement) {
          all *= Number(getComputedStyle(e).opacity);
        }
        return all;
      };
      const weak = new Set();
      let count = 0;
      const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
      for (let node = walker.nextNode(); node; node = walker.nextNode()) {
        const element = node.parentElement;
        if (!node.data.trim() || !element.getClientRects().length || element.closest('svg')) {
          continue;
        }
        const ground = behind(element);
        const ink = mix(parse(getComputedStyle(element).color).slice(0, 3), ground, opacity(element));
        const [a, b] = [light(ink), light(ground)];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        count++;
        if (ratio < 4.5) {
          weak.add(`${ratio.toFixed(2)} ${element.tagName}.${element.className}: ${node.data.trim()}`);
        }
      }
      if (count < 100) {
        throw new Error(`only ${count} texts`);
      }
      return [...weak];
      """;

  @Test
  void hostileTextsStayTexts() throws Exception {
    String hostile =
        "</script><script>window.hacked = 1</script><img src=x onerror=\"window.hacked ="
            + " 1\">'\"`${1}&amp;";
    Path file = write("hostile", SampleReport.saying(hostile));
    browser.log(Browser.CONSOLE);
    browser.open(file, 1440, "light");
    assertEquals(hostile, browser.find("h1").getText());
    assertEquals(hostile, browser.texts(".claim").getFirst());
    assertEquals(
        "null 0 2",
        browser.run(
            "return (window.hacked ?? null) + ' ' + document.querySelectorAll('img').length + ' '"
                + " + document.scripts.length"));
    assertEquals(List.of(), browser.log(Browser.CONSOLE));
    assertTrue(csv("kappa.csv").stream().allMatch(r -> r.getField("model").equals(hostile)));
    List<String> labels =
        svg("contours.svg", "[...picture.querySelectorAll('text')].map((t) => t.textContent)");
    assertTrue(labels.contains(hostile + ", " + hostile), "" + labels);
  }

  @Test
  void aRunThatMeasuredNothingSaysSo() throws Exception {
    browser.log(Browser.CONSOLE);
    for (String name : List.of("empty", "bare")) {
      ObjectNode report = SampleReport.empty();
      if (name.equals("bare")) {
        report.removeAll();
      }
      browser.open(write(name, report), 390, "light");
      assertEquals(List.of(), browser.log(Browser.CONSOLE));
      assertEquals(0, browser.texts("figure").size());
      for (String section : List.of("findings", "frontier", "exchange", "map", "results")) {
        assertTrue(!browser.texts("#" + section + " .nothing").isEmpty(), section);
      }
    }
  }

  private static String yes(JsonNode answer, String field) {
    return answer.get(field).booleanValue() ? "yes" : "no";
  }

  private static String stations(JsonNode answer) {
    List<String> names = new ArrayList<>();
    for (JsonNode city : answer.get("path")) {
      JsonNode place = SAMPLE.get("map").get("cities").get(city.intValue());
      names.add(place.get("name").textValue() + ", " + place.get("state").textValue());
    }
    return String.join(" → ", names);
  }

  private static JsonNode answer(
      int query, String model, double fraction, String method, int spend) {
    for (JsonNode answer : SAMPLE.get("map").get("queries").get(query).get("answers")) {
      if (answer.get("model").textValue().equals(model)
          && answer.get("fraction").doubleValue() == fraction
          && answer.get("method").textValue().equals(method)
          && answer.get("spend").intValue() == spend) {
        return answer;
      }
    }
    throw new IllegalStateException("the sample has no such answer");
  }
}
