// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.Charset;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import ponder.Key;

/** The three forms of files, and what is said of a bad one. */
class CityFilesTest {
  private static final String CSV =
      """
      # a comment
      id,name,state,latitude,longitude,population,kind,geoid
      0,"Lynchburg, Moore County",TN,35.289,-86.359,6358,metropolitan government,4744382
      1,Española,NM,36.0,-106.0,10224,city,3525170
      """;

  private static final String GAZETTEER =
      """
      USPS\tGEOID\tANSICODE\tNAME\tPOP10\tALAND\tINTPTLAT\tINTPTLONG   \s
      TN\t4752006\t1\tNashville-Davidson metropolitan government (balance)\t601222\t9\t36.1718\t -86.785
      FL\t1234132\t2\t"Islamorada, Village of Islands village"\t6119\t9\t25.0\t-80.5
      NM\t3525170\t2\tEspañola city\t10224\t9\t36.0\t-106.0
      NV\t3209700\t3\tCarson City\t55274\t9\t39.15\t-119.74
      MT\t3011397\t4\tButte-Silver Bow (balance)\t33525\t9\t45.9\t-112.66
      """;

  private static final String GEONAMES =
      geoNames("5106292", "Albany", "P", "PPLA", "97856")
          + geoNames("5106294", "Albany County", "A", "ADM2", "x")
          + geoNames("5110302", "Brooklyn", "P", "PPLX", "2300664")
          + geoNames("5128581", "New York", "P", "PPL", "8175133");

  @TempDir private Path folder;

  private static String geoNames(
      String id, String name, String feature, String code, String population) {
    return String.join(
            "\t",
            id,
            name,
            name,
            "",
            "42.65",
            "-73.75",
            feature,
            code,
            "US",
            "",
            "NY",
            "001",
            "01000",
            "",
            population,
            "45",
            "49",
            "America/New_York",
            "2019-09-05")
        + "\n";
  }

  private Path file(String text, Charset charset) throws IOException {
    return Files.write(folder.resolve("towns"), text.getBytes(charset));
  }

  private List<City> read(String text) throws IOException {
    return Cities.read(file(text, StandardCharsets.UTF_8));
  }

  private String refusal(String text) {
    String message = assertThrows(CityFileException.class, () -> read(text)).getMessage();
    assertTrue(message.startsWith(folder.resolve("towns").toString()), message);
    return message.substring(folder.resolve("towns").toString().length());
  }

  @Test
  void commaSeparatedTextIsRead() throws IOException {
    assertEquals(
        List.of(
            new City(
                "Lynchburg, Moore County", "TN", 35.289, -86.359, 6358, "metropolitan government"),
            new City("Española", "NM", 36, -106, 10224, "city")),
        read(CSV));
  }

  @Test
  void commaSeparatedTextNeedsFiveColumnsInAnyOrder() throws IOException {
    assertEquals(
        List.of(new City("Ely", "MN", 47.9, -91.9, 3460, "")),
        read("longitude,latitude,population,state,name\r\n-91.9,47.9,3460,MN,Ely\r\n"));
  }

  @Test
  void packedFilesAreReadWhateverTheirName() throws IOException {
    Path packed = folder.resolve("packed.txt");
    try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(packed))) {
      out.write(CSV.getBytes(StandardCharsets.UTF_8));
    }
    assertEquals(read(CSV), Cities.read(packed));
  }

  @Test
  void theGazetteerIsReadInBothEncodings() throws IOException {
    List<City> expected =
        List.of(
            new City(
                "Nashville-Davidson", "TN", 36.1718, -86.785, 601222, "metropolitan government"),
            new City("Islamorada, Village of Islands", "FL", 25, -80.5, 6119, "village"),
            new City("Española", "NM", 36, -106, 10224, "city"),
            new City("Carson City", "NV", 39.15, -119.74, 55274, ""),
            new City("Butte-Silver Bow", "MT", 45.9, -112.66, 33525, ""));
    assertEquals(expected, read(GAZETTEER));
    assertEquals(expected, Cities.read(file(GAZETTEER, StandardCharsets.ISO_8859_1)));
    assertEquals(expected, read(GAZETTEER.replace('\t', '|')));
    assertEquals(expected, read("\uFEFF" + GAZETTEER.replace("\n", "\r\n")));
  }

  @Test
  void theGazetteerWithoutACountGivesUnknownPopulations() throws IOException {
    List<City> cities =
        read("STUSPS\tGEOID\tNAME\tINTPTLAT\tINTPTLONG\nAL\t1\tAbanda CDP\t33\t-85\n");
    assertEquals(List.of(new City("Abanda", "AL", 33, -85, City.UNKNOWN, "CDP")), cities);
  }

  @Test
  void geoNamesGivesThePopulatedPlacesOnly() throws IOException {
    assertEquals(
        List.of(
            new City("Albany", "NY", 42.65, -73.75, 97856, "PPLA"),
            new City("New York", "NY", 42.65, -73.75, 8175133, "PPL")),
        read(GEONAMES));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "35.289 | 95     | , line 3, column latitude: '95' is not a number from -90 to 90",
        "35.289 | 35f    | , line 3, column latitude: '35f' is not a number from -90 to 90",
        "35.289 | 0x1p3  | , line 3, column latitude: '0x1p3' is not a number from -90 to 90",
        "35.289 | NaN    | , line 3, column latitude: 'NaN' is not a number from -90 to 90",
        "-86.359| west   | , line 3, column longitude: 'west' is not a number from -180 to 180",
        "6358   | -5     | , line 3, column population: '-5' is not a whole number of inhabitants",
        "6358   | 6e3    | , line 3, column population: '6e3' is not a whole number of inhabitants",
        "Española | ''   | , line 4, column name: '' is empty",
        ",4744382 | ''   | , line 3, column geoid: '' is missing: the row has 7 fields",
        "4744382 | 4,X   | , line 3, column 9: 'X' is more than the 8 fields of a row",
      })
  void aMalformedRowNamesLineColumnAndValue(String from, String to, String message) {
    assertEquals(message.replace('\'', '"'), refusal(CSV.replace(from, to)));
  }

  @Test
  void aMalformedRowOfTheOtherFormsIsNamedToo() {
    assertEquals(
        ", line 2, column INTPTLAT: \"north\" is not a number from -90 to 90",
        refusal(GAZETTEER.replace("36.1718", "north")));
    assertEquals(
        ", line 4, column population: \"many\" is not a whole number of inhabitants",
        refusal(GEONAMES.replace("8175133", "many")));
    assertEquals(
        ", line 5, column name: \"\" is missing: the row has 1 fields", refusal(GEONAMES + "7\n"));
  }

  @Test
  void whatIsNoFileOfPlacesIsRefused() {
    assertEquals(" is empty", refusal(""));
    assertTrue(refusal("PK\3\4....").startsWith(" is a zip archive"));
    assertTrue(refusal("Dear reader,\nhello\n").startsWith(" is none of"));
    assertTrue(refusal("\n\n").startsWith(" is none of"));
    assertEquals(" holds no place", refusal("name,state,latitude,longitude,population\n"));
    assertTrue(refusal(CSV + "2,\"Ely,MN,47.9,-91.9,3460,city,1\n").contains("comma-separated"));
  }

  @Test
  void aDamagedPackedFileIsRefused() throws IOException {
    Path packed = folder.resolve("packed");
    try (OutputStream out = new GZIPOutputStream(Files.newOutputStream(packed))) {
      out.write(CSV.repeat(100).getBytes(StandardCharsets.UTF_8));
    }
    byte[] bytes = Files.readAllBytes(packed);
    bytes[bytes.length / 2] ^= 0x55;
    Files.write(packed, bytes);
    assertThrows(CityFileException.class, () -> Cities.read(packed));
    Files.write(packed, Arrays.copyOf(bytes, 30));
    assertThrows(CityFileException.class, () -> Cities.read(packed));
  }

  @Test
  void damageAnywhereIsEitherHarmlessOrNamed() throws IOException {
    byte[] all = "\t|,\"\n\r#-.0\0\u00ff".getBytes(StandardCharsets.ISO_8859_1);
    int refused = 0;
    for (String text : List.of(CSV, GAZETTEER, GEONAMES)) {
      for (int round = 0; round < 1_000; round++) {
        byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
        int[] draws = Key.of(round).ints(6, 1 << 20);
        for (int i = 0; i < 1 + draws[0] % 2; i++) {
          bytes[draws[1 + i] % bytes.length] = all[draws[3 + i] % all.length];
        }
        Path file = folder.resolve("damaged");
        Files.write(file, Arrays.copyOf(bytes, bytes.length - draws[5] % 9));
        try {
          for (City city : Cities.read(file)) {
            assertTrue(Math.abs(city.latitude()) <= 90 && Math.abs(city.longitude()) <= 180);
            assertTrue(city.population() >= City.UNKNOWN && !city.name().isEmpty());
          }
        } catch (CityFileException e) {
          assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
          refused++;
        }
      }
    }
    assertTrue(refused > 500 && refused < 2_900, refused + " of 3,000 were refused");
  }

  @Test
  void theCensusTablesAgree() throws IOException {
    List<City> table = Cities.read(SharedData.cities());
    List<City> gazetteer =
        Cities.read(SharedData.file("us_cities/raw/census2010_gaz_places_national.tsv.gz"));
    assertEquals(29_514, table.size());
    assertEquals(table.size(), gazetteer.size());
    for (int i = 0; i < table.size(); i++) {
      City known = table.get(i);
      String kind = known.kind().equals("other") ? "" : known.kind();
      City expected =
          new City(
              known.name(), known.state(), known.latitude(), known.longitude(), City.UNKNOWN, kind);
      assertEquals(expected, gazetteer.get(i));
    }
  }
}
