// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.json.JsonMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * All that was measured on one machine: its file.
 *
 * @param machine the machine, as the last run saw it
 * @param entries one for each row that was measured, in the table's order
 * @param throughput against the training budget, as the last run of such rows found it; or null
 */
record Results(Machine machine, List<Entry> entries, Throughput throughput) {
  private static final ObjectMapper JSON =
      JsonMapper.builder().enable(DeserializationFeature.FAIL_ON_NULL_FOR_PRIMITIVES).build();

  /** Reads a file. */
  static Results read(Path file) throws IOException {
    try {
      return JSON.readValue(file.toFile(), Results.class);
    } catch (JsonProcessingException e) {
      throw new IOException(file + " is no file of results: " + e.getOriginalMessage(), e);
    }
  }

  /** Returns what the file of a machine holds, or nothing where there is no such file. */
  static Results readOrEmpty(Path file, Machine machine) throws IOException {
    if (!Files.exists(file)) return new Results(machine, List.of(), null);
    Results before = read(file);
    if (!before.machine.isLike(machine)) {
      throw new IOException(
          file
              + " was measured on another machine: "
              + before.machine
              + "; name a folder with --out");
    }
    return before;
  }

  /** Returns these results with new ones in the place of older ones of the same rows. */
  Results with(Machine now, List<Entry> measured, List<Row> table) {
    Map<String, Entry> all = new LinkedHashMap<>(byRow());
    measured.forEach(entry -> all.put(entry.row(), entry));
    List<Entry> ordered = new ArrayList<>();
    for (Row row : table) {
      if (all.containsKey(row.name())) ordered.add(all.get(row.name()));
    }
    return new Results(now, ordered, throughput);
  }

  /** Returns these results with a throughput, where there is one, in the place of an older one. */
  Results with(Throughput found) {
    return found == null ? this : new Results(machine, entries, found);
  }

  /** Returns the entries of a device, of quick runs or of whole ones, by their rows. */
  Map<String, Entry> of(String device, boolean quick) {
    Map<String, Entry> some = new LinkedHashMap<>(byRow());
    some.values().removeIf(e -> !e.device().equals(device) || e.quick() != quick);
    return some;
  }

  /** Returns the entries by their rows. */
  Map<String, Entry> byRow() {
    Map<String, Entry> entries = new LinkedHashMap<>();
    this.entries.forEach(entry -> entries.put(entry.row(), entry));
    return entries;
  }

  /** Writes the page beside the file, and the plot that it shows. */
  void writePage(Path folder, List<Row> table) throws IOException {
    String slug = machine.slug();
    Files.writeString(folder.resolve(slug + ".md"), Page.of(this, table));
    if (throughput != null) {
      Files.writeString(folder.resolve(slug + ".svg"), ThroughputPlot.of(throughput));
    }
  }

  /** Writes a file, whole or not at all. */
  void write(Path file) throws IOException {
    var indent = new DefaultIndenter("  ", "\n");
    var printer = new DefaultPrettyPrinter().withObjectIndenter(indent).withArrayIndenter(indent);
    Path part = file.resolveSibling(file.getFileName() + ".part");
    Files.writeString(part, JSON.writer(printer).writeValueAsString(this) + "\n");
    Files.move(part, file, StandardCopyOption.REPLACE_EXISTING, StandardCopyOption.ATOMIC_MOVE);
  }
}
