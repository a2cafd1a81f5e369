// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.io.BufferedInputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;

/** Where places come from: the built-in set, or a file in one of three forms. */
public final class Cities {
  private static final String EMBEDDED = "us300.csv";

  private Cities() {}

  /**
   * Returns the 300 most populous incorporated places of the contiguous United States in 2010, the
   * largest first. The file's own note tells its precision.
   */
  public static List<City> embedded() {
    try (InputStream in = Cities.class.getResourceAsStream(EMBEDDED)) {
      return CityFormat.CSV.read(EMBEDDED, new BufferedInputStream(in));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /**
   * Returns every place of a file, in the file's order. The form is told by the content, packed
   * with gzip or not, whatever the name:
   *
   * <ul>
   *   <li>comma-separated with a header that has name, state, latitude, longitude and population;
   *   <li>the Census Gazetteer's places, whose population is {@link City#UNKNOWN} where the file
   *       has no column POP10;
   *   <li>the dump of GeoNames (such as US.txt), of which the populated places still standing.
   * </ul>
   *
   * @throws CityFileException if the file has none of these forms or a row is malformed
   * @throws IOException if the file cannot be read
   */
  public static List<City> read(Path file) throws IOException {
    String name = file.toString();
    try (InputStream raw = new BufferedInputStream(Files.newInputStream(file));
        InputStream in = new BufferedInputStream(unpacked(name, raw), 1 << 16)) {
      List<City> cities = CityFormat.of(name, in).read(name, in);
      if (cities.isEmpty()) {
        throw new CityFileException(name, "holds no place");
      }
      return cities;
    } catch (ZipException | EOFException e) {
      throw new CityFileException(name, "is packed with gzip and damaged: " + e.getMessage());
    }
  }

  private static InputStream unpacked(String name, InputStream in) throws IOException {
    in.mark(2);
    int magic = in.read() << 8 | in.read();
    in.reset();
    if (magic == 0x504b) {
      throw new CityFileException(name, "is a zip archive; unpack it and name the text in it");
    }
    return magic == 0x1f8b ? new GZIPInputStream(in) : in;
  }
}
