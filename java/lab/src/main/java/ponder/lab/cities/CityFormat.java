// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import de.siegmar.fastcsv.reader.CommentStrategy;
import de.siegmar.fastcsv.reader.CsvParseException;
import de.siegmar.fastcsv.reader.CsvReader;
import de.siegmar.fastcsv.reader.CsvRecord;
import de.siegmar.fastcsv.reader.FieldMismatchStrategy;
import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/** The forms a file of places may have. */
enum CityFormat {
  /** Comma-separated, with a header; lines that begin with # are comments. */
  CSV {
    @Override
    List<City> read(String file, InputStream in) throws IOException {
      List<City> cities = new ArrayList<>();
      Row row = null;
      // The reader is not closed: the stream is the caller's.
      CsvReader<CsvRecord> records =
          CsvReader.builder()
              .commentStrategy(CommentStrategy.SKIP)
              .extraFieldStrategy(FieldMismatchStrategy.IGNORE)
              .missingFieldStrategy(FieldMismatchStrategy.IGNORE)
              .allowUnclosedQuote(false)
              .detectBomHeader(true)
              .ofCsvRecord(in, StandardCharsets.UTF_8);
      try {
        for (CsvRecord record : records) {
          if (row == null) {
            row = new Row(file, headers(record.getFields()));
            continue;
          }
          row.set(record.getStartingLineNumber(), record.getFields());
          cities.add(
              new City(
                  row.required(row.column("name")),
                  row.required(row.column("state")),
                  row.degrees(row.column("latitude"), 90),
                  row.degrees(row.column("longitude"), 180),
                  row.count(row.column("population")),
                  row.optional(row.find("kind"))));
        }
      } catch (CsvParseException e) {
        Throwable cause = e.getCause() == null ? e : e.getCause();
        throw new CityFileException(file, "is not comma-separated text: " + cause.getMessage());
      }
      return cities;
    }
  },

  /**
   * The Census Gazetteer of places: a header, then tabs (bars in later years). Source: Census
   * Bureau, Gazetteer Files, 2010 record layouts.
   */
  GAZETTEER {
    @Override
    List<City> read(String file, InputStream in) throws IOException {
      Lines lines = new Lines(in);
      String header = lines.next();
      String separator = header.indexOf('\t') < 0 ? "\\|" : "\t";
      Row row =
          new Row(file, Arrays.stream(header.split(separator, -1)).map(String::strip).toList());
      int state = row.find("USPS") >= 0 ? row.find("USPS") : row.column("STUSPS");
      int name = row.column("NAME");
      int population = row.find("POP10");
      List<City> cities = new ArrayList<>();
      for (String line = lines.next(); line != null; line = lines.next()) {
        if (line.isBlank()) {
          continue;
        }
        row.set(lines.number(), List.of(line.split(separator, -1)));
        String full = unquoted(row.required(name));
        String whole = full.endsWith(BALANCE) ? cut(full, BALANCE) : full;
        String kind = legalType(whole);
        cities.add(
            new City(
                kind.isEmpty() ? whole : cut(whole, " " + kind),
                row.required(state),
                row.degrees(row.column("INTPTLAT"), 90),
                row.degrees(row.column("INTPTLONG"), 180),
                population < 0 ? City.UNKNOWN : row.count(population),
                kind));
      }
      return cities;
    }
  },

  /**
   * GeoNames' dump of a country: 19 columns between tabs, no header. Taken are the populated
   * places (class P) but for abandoned, destroyed and historical ones and sections of a place.
   * Source: GeoNames, readme of the dump.
   */
  GEONAMES {
    private static final Set<String> NOT_A_PLACE = Set.of("PPLH", "PPLQ", "PPLW", "PPLX");

    @Override
    List<City> read(String file, InputStream in) throws IOException {
      Lines lines = new Lines(in);
      Row row = new Row(file, GEONAMES_COLUMNS);
      List<City> cities = new ArrayList<>();
      for (String line = lines.next(); line != null; line = lines.next()) {
        if (line.isBlank()) {
          continue;
        }
        row.set(lines.number(), List.of(line.split("\t", -1)));
        String kind = row.text(row.column("feature code"));
        if (row.text(row.column("feature class")).equals("P") && !NOT_A_PLACE.contains(kind)) {
          cities.add(
              new City(
                  row.required(row.column("name")),
                  row.text(row.column("admin1 code")),
                  row.degrees(row.column("latitude"), 90),
                  row.degrees(row.column("longitude"), 180),
                  row.count(row.column("population")),
                  kind));
        }
      }
      return cities;
    }
  };

  private static final List<String> CSV_COLUMNS =
      List.of("name", "state", "latitude", "longitude", "population");

  private static final List<String> GEONAMES_COLUMNS =
      List.of(
          "geonameid",
          "name",
          "asciiname",
          "alternatenames",
          "latitude",
          "longitude",
          "feature class",
          "feature code",
          "country code",
          "cc2",
          "admin1 code",
          "admin2 code",
          "admin3 code",
          "admin4 code",
          "population",
          "elevation",
          "dem",
          "timezone",
          "modification date");

  /** What is left of a county or city once the towns inside it are counted apart. */
  private static final String BALANCE = " (balance)";

  /** The legal types of the Gazetteer, an ending before any ending of it. */
  private static final List<String> LEGAL_TYPES =
      List.of(
          "consolidated government",
          "metropolitan government",
          "unified government",
          "metro government",
          "city and borough",
          "urban county",
          "zona urbana",
          "municipality",
          "corporation",
          "comunidad",
          "borough",
          "village",
          "town",
          "city",
          "CDP");

  private static final int LONGEST_HEADER = 1 << 14;

  abstract List<City> read(String file, InputStream in) throws IOException;

  /** Returns the form of a stream, which is left at its beginning. */
  static CityFormat of(String file, InputStream in) throws IOException {
    in.mark(LONGEST_HEADER);
    byte[] start = in.readNBytes(LONGEST_HEADER);
    in.reset();
    if (start.length == 0) {
      throw new CityFileException(file, "is empty");
    }
    Lines lines = new Lines(new ByteArrayInputStream(start));
    String first = lines.next();
    while (first != null && (first.isBlank() || first.startsWith("#"))) {
      first = lines.next();
    }
    first = first == null ? "" : first;
    if (headers(List.of(first.split(",", -1))).containsAll(CSV_COLUMNS)) {
      return CSV;
    }
    List<String> columns = Arrays.stream(first.split("[\t|]", -1)).map(String::strip).toList();
    if (columns.containsAll(List.of("GEOID", "NAME", "INTPTLAT", "INTPTLONG"))
        && (columns.contains("USPS") || columns.contains("STUSPS"))) {
      return GAZETTEER;
    }
    if (first.matches("\\d+(\t[^\t]*){" + (GEONAMES_COLUMNS.size() - 1) + "}")) {
      return GEONAMES;
    }
    throw new CityFileException(
        file,
        "is none of: comma-separated text with a header of "
            + String.join(", ", CSV_COLUMNS)
            + "; the Census Gazetteer's places; a dump of GeoNames");
  }

  private static List<String> headers(List<String> fields) {
    return fields.stream().map(field -> field.strip().replace("\"", "")).toList();
  }

  private static String legalType(String name) {
    for (String type : LEGAL_TYPES) {
      if (name.endsWith(" " + type)) {
        return type;
      }
    }
    return "";
  }

  /** A Gazetteer name with a comma, such as "Lynchburg, Moore County", stands in quotes. */
  private static String unquoted(String name) {
    boolean quoted = name.length() > 1 && name.startsWith("\"") && name.endsWith("\"");
    return quoted ? name.substring(1, name.length() - 1) : name;
  }

  private static String cut(String text, String end) {
    return text.substring(0, text.length() - end.length());
  }
}
