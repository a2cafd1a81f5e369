// SPDX-License-Identifier: Apache-2.0
package ponder.lab;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.GeneralCodingRules.ACCESS_STANDARD_STREAMS;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.tngtech.archunit.core.domain.Dependency;
import com.tngtech.archunit.core.domain.JavaClass;
import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.domain.JavaCodeUnit;
import com.tngtech.archunit.core.domain.JavaField;
import com.tngtech.archunit.core.domain.JavaMember;
import com.tngtech.archunit.core.domain.JavaModifier;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The rooms of the house: who may import whom, what a source file must say, how long it is. */
class HouseTest {
  private static final Path ROOT = root();
  private static final Set<String> SOURCES =
      Set.of(
          "java", "cpp", "h", "c", "map", "cu", "cuh", "cmake", "txt", "js", "mjs", "css", "html");
  private static final List<String> KERNEL_FIELDS =
      List.of("Shapes", "Method", "Order", "Error", "Work", "Source");

  /** Lower rooms first: each may import those before it. */
  private static final List<Set<String>> ENGINE =
      List.of(
          Set.of("ponder.abi"),
          Set.of("ponder"),
          Set.of("ponder.op"),
          Set.of("ponder.nn", "ponder.optim"),
          Set.of("ponder.train"),
          Set.of("ponder.lab.."));

  private static JavaClasses classes;

  @BeforeAll
  static void readTheClasses() {
    classes =
        new ClassFileImporter()
            .importPaths(
                ROOT.resolve("java/engine/target/classes"),
                ROOT.resolve("java/lab/target/classes"));
    assertTrue(classes.contain("ponder.Device") && classes.contain("ponder.lab.Main"));
  }

  @Test
  void noRoomImportsOneAboveIt() {
    for (int low = 0; low < ENGINE.size(); low++) {
      List<String> above = new ArrayList<>();
      ENGINE.subList(low + 1, ENGINE.size()).forEach(above::addAll);
      for (String room : ENGINE.get(low)) {
        List<String> forbidden = new ArrayList<>(above);
        ENGINE.get(low).stream().filter(other -> !other.equals(room)).forEach(forbidden::add);
        if (!forbidden.isEmpty()) {
          noClasses()
              .that()
              .resideInAPackage(room)
              .should()
              .dependOnClassesThat()
              .resideInAnyPackage(forbidden.toArray(String[]::new))
              .check(classes);
        }
      }
    }
  }

  @Test
  void theEngineNeedsNothingButTheJdkAndJCuda() {
    classes()
        .that()
        .resideOutsideOfPackage("ponder.lab..")
        .should()
        .onlyDependOnClassesThat()
        .resideInAnyPackage("java..", "ponder..", "jcuda..")
        .check(classes);
  }

  /** JCuda may be absent: what names it cannot be linked then. */
  @Test
  void twoClassesAloneNameJCuda() {
    noClasses()
        .that()
        .haveNameNotMatching("ponder\\.Cuda(Driver|Context)(\\$.+)?")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("jcuda..")
        .check(classes);
  }

  @Test
  void roomsOfTheLabDoNotImportEachOtherInCircles() {
    slices().matching("ponder.lab.(**)").should().beFreeOfCycles().check(classes);
  }

  /** What two pages share moves down, with a test. */
  @Test
  void nothingButTheCommandLineImportsAPage() {
    Set<String> imports = new TreeSet<>();
    for (JavaClass page : classes) {
      if (!page.getPackageName().startsWith("ponder.lab.pages")) {
        continue;
      }
      for (Dependency use : page.getDirectDependenciesToSelf()) {
        JavaClass user = use.getOriginClass();
        boolean itself = outermost(user).equals(outermost(page));
        if (!itself && !user.getPackageName().equals("ponder.lab")) {
          imports.add(use.getDescription());
        }
      }
    }
    assertEquals(Set.of(), imports);
  }

  private static JavaClass outermost(JavaClass type) {
    return type.getEnclosingClass().map(HouseTest::outermost).orElse(type);
  }

  @Test
  void theEnginePrintsNothing() {
    noClasses()
        .that()
        .resideOutsideOfPackage("ponder.lab..")
        .should(ACCESS_STANDARD_STREAMS)
        .check(classes);
  }

  @Test
  void onlyTheBindingLinks() {
    noClasses()
        .that()
        .resideOutsideOfPackage("ponder.abi")
        .should()
        .dependOnClassesThat()
        .haveFullyQualifiedName("java.lang.foreign.Linker")
        .orShould()
        .dependOnClassesThat()
        .haveFullyQualifiedName("java.lang.foreign.SymbolLookup")
        .check(classes);
  }

  @Test
  void noExportedSignatureShowsTheBinding() {
    List<String> shown = new ArrayList<>();
    for (JavaClass type : classes) {
      if (type.getPackageName().equals("ponder.abi") || !isPublic(type)) {
        continue;
      }
      for (JavaMember member : type.getMembers()) {
        boolean seen =
            member.getModifiers().contains(JavaModifier.PUBLIC)
                || member.getModifiers().contains(JavaModifier.PROTECTED);
        if (seen && types(member).stream().anyMatch(HouseTest::isOfTheBinding)) {
          shown.add(member.getFullName());
        }
      }
    }
    assertEquals(List.of(), shown);
  }

  /** Returns the types in the signature of a field, a method or a constructor. */
  private static List<JavaClass> types(JavaMember member) {
    List<JavaClass> types = new ArrayList<>();
    switch (member) {
      case JavaField field -> types.add(field.getRawType());
      case JavaCodeUnit unit -> {
        types.addAll(unit.getRawParameterTypes());
        types.add(unit.getRawReturnType());
      }
      default -> throw new IllegalStateException(member.getDescription());
    }
    return types;
  }

  private static boolean isOfTheBinding(JavaClass type) {
    return type.getBaseComponentType().getPackageName().equals("ponder.abi");
  }

  @Test
  void theWarningOfRestrictedMethodsIsSilencedInTheBindingAlone() throws IOException {
    List<String> elsewhere =
        sources().stream()
            .filter(f -> f.toString().contains("/src/main/java/"))
            .filter(f -> !f.toString().contains("/ponder/abi/"))
            .filter(f -> read(f).contains("\"restricted\""))
            .map(Path::toString)
            .toList();
    assertEquals(List.of(), elsewhere);
  }

  @Test
  void everySourceNamesItsLicence() throws IOException {
    List<String> without =
        sources().stream()
            .filter(f -> !read(f).contains("SPDX-License-Identifier: Apache-2.0"))
            .map(Path::toString)
            .toList();
    assertEquals(List.of(), without);
  }

  @Test
  void everyKernelFileStatesItsContract() throws IOException {
    List<String> lacking = new ArrayList<>();
    for (Path file : sources()) {
      boolean kernels =
          (file.startsWith("native/src") || file.startsWith("cuda/src"))
              && !file.getFileName().toString().startsWith("context.")
              && read(file).contains("\nint32_t pnd_");
      for (String field : KERNEL_FIELDS) {
        if (kernels && !Pattern.compile("(?m)^// " + field + " ").matcher(read(file)).find()) {
          lacking.add(file + ": " + field);
        }
      }
    }
    assertEquals(List.of(), lacking);
  }

  @Test
  void noRoomIsAJunkDrawer() throws IOException {
    Set<String> drawers = new TreeSet<>();
    for (Path file : sources()) {
      for (Path part : file) {
        if (part.toString().matches("utils?|common|misc|helpers?|scripts|extra")) {
          drawers.add(file.toString());
        }
      }
    }
    assertEquals(Set.of(), drawers);
  }

  /** Length is a smell, not a wall: the files over their budget are printed. */
  @AfterAll
  static void printTheFilesOverTheirBudget() throws IOException {
    for (Path file : sources()) {
      long lines = read(file).lines().count();
      if (lines > budget(file.toString())) {
        System.out.println(
            "over its budget of " + budget(file.toString()) + " lines: " + file + ", " + lines);
      }
    }
  }

  private static int budget(String file) {
    if (file.endsWith("ponder.h")) {
      return 900;
    }
    if (file.startsWith("native/src") || file.startsWith("cuda/src")) {
      return 200;
    }
    if (file.contains("/main/java/ponder/op/")) {
      return 120;
    }
    return file.contains("/ponder/lab/pages/") ? 150 : 300;
  }

  private static boolean isPublic(JavaClass type) {
    return type.getModifiers().contains(JavaModifier.PUBLIC)
        && type.getEnclosingClass().map(HouseTest::isPublic).orElse(true);
  }

  /** Returns the source files of the repository, from its top. */
  private static List<Path> sources() throws IOException {
    List<Path> sources = new ArrayList<>();
    for (String room : List.of("native", "cuda", "java", "bench", "CMakeLists.txt")) {
      Path start = ROOT.resolve(room);
      if (!Files.exists(start)) {
        continue;
      }
      try (Stream<Path> files = Files.walk(start)) {
        files
            .filter(Files::isRegularFile)
            .map(ROOT::relativize)
            .filter(f -> !f.toString().matches(".*/(target|resources)/.*"))
            .filter(f -> SOURCES.contains(f.toString().replaceAll(".*\\.", "")))
            .sorted()
            .forEach(sources::add);
      }
    }
    assertTrue(sources.size() > 50, "the sources were not found below " + ROOT);
    return sources;
  }

  private static String read(Path file) {
    try {
      return Files.readString(ROOT.resolve(file));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static Path root() {
    Path path = Path.of("").toAbsolutePath();
    while (!Files.exists(path.resolve("CMakePresets.json"))) {
      path = path.getParent();
    }
    return path;
  }
}
