// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import org.openqa.selenium.By;
import org.openqa.selenium.WebElement;
import org.openqa.selenium.chrome.ChromeDriver;
import org.openqa.selenium.chrome.ChromeDriverService;
import org.openqa.selenium.chrome.ChromeOptions;
import org.openqa.selenium.logging.LogEntry;

/** Debian's Chromium without a window, in a profile of its own; nothing is downloaded for it. */
final class Browser implements AutoCloseable {
  /** The log of what the page asks the network for, and of everything else it does. */
  static final String PERFORMANCE = "performance";

  /** The log of the page's console. */
  static final String CONSOLE = "browser";

  private static final Path CHROMIUM = Path.of("/usr/bin/chromium");
  private static final Path DRIVER = Path.of("/usr/bin/chromedriver");

  /** What a machine without a browser lacks. */
  static final String NEEDED = "needs " + CHROMIUM + " and " + DRIVER;

  private final ChromeDriver driver;
  private final Path downloads;

  private Browser(ChromeDriver driver, Path downloads) {
    this.driver = driver;
    this.downloads = downloads;
  }

  /** Returns whether Chromium and its driver are installed. */
  static boolean isThere() {
    return Files.isExecutable(CHROMIUM) && Files.isExecutable(DRIVER);
  }

  /** Starts it, with its profile and what it saves in a folder. */
  static Browser start(Path work) throws IOException {
    Path downloads = Files.createDirectory(work.resolve("downloads"));
    ChromeOptions options = new ChromeOptions();
    options.setBinary(CHROMIUM.toFile());
    options.addArguments(
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-default-apps",
        "--disable-sync",
        "--no-first-run",
        "--force-device-scale-factor=1",
        "--user-data-dir=" + work.resolve("profile"));
    options.setCapability("goog:loggingPrefs", Map.of(PERFORMANCE, "ALL", CONSOLE, "ALL"));
    options.setExperimentalOption(
        "prefs",
        Map.of(
            "download.default_directory",
            downloads.toString(),
            "download.prompt_for_download",
            false,
            "profile.default_content_setting_values.automatic_downloads",
            1));
    ChromeDriverService service =
        new ChromeDriverService.Builder().usingDriverExecutable(DRIVER.toFile()).build();
    return new Browser(new ChromeDriver(service, options), downloads);
  }

  /** Opens a file in a window of a width and a colour scheme, light or dark, without motion. */
  void open(Path file, int width, String scheme) {
    driver.executeCdpCommand(
        "Emulation.setDeviceMetricsOverride",
        Map.of("width", width, "height", 900, "deviceScaleFactor", 1, "mobile", width < 600));
    driver.executeCdpCommand(
        "Emulation.setEmulatedMedia",
        Map.of(
            "features",
            List.of(
                Map.of("name", "prefers-color-scheme", "value", scheme),
                Map.of("name", "prefers-reduced-motion", "value", "reduce"))));
    driver.get(file.toUri().toString());
  }

  /** Returns what a script returns. */
  Object run(String script, Object... arguments) {
    return driver.executeScript(script, arguments);
  }

  /** Returns the first element that a CSS selector finds. */
  WebElement find(String selector) {
    return driver.findElement(By.cssSelector(selector));
  }

  /** Returns the texts of all elements that a CSS selector finds. */
  @SuppressWarnings("unchecked")
  List<String> texts(String selector) {
    return (List<String>)
        run(
            "return [...document.querySelectorAll(arguments[0])].map((e) => e.textContent)",
            selector);
  }

  /** Chooses the entry with a text of the list in an element. */
  void choose(String selector, String text) {
    for (WebElement option : driver.findElements(By.cssSelector(selector + " option"))) {
      if (option.getDomProperty("textContent").equals(text)) {
        option.click();
        return;
      }
    }
    throw new IllegalArgumentException(selector + " offers no " + text);
  }

  /** Returns the messages of a log since it was last read. */
  List<String> log(String type) {
    return driver.manage().logs().get(type).getAll().stream().map(LogEntry::getMessage).toList();
  }

  /** Presses the button that saves a file, waits for it and returns its text. */
  String save(String name) throws Exception {
    Path file = downloads.resolve(name);
    Files.deleteIfExists(file);
    find("[data-save='" + name + "']").click();
    long end = System.nanoTime() + Duration.ofSeconds(20).toNanos();
    while (!Files.exists(file) && System.nanoTime() < end) {
      Thread.sleep(20);
    }
    return Files.readString(file);
  }

  @Override
  public void close() {
    driver.quit();
  }
}
