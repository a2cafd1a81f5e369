// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import ponder.TestDevices;
import ponder.abi.Header;
import ponder.abi.Library;

/** What every function of the header owes, on every build that this processor runs. */
class CasesTest {
  /** Functions that compute nothing; wrong_calls_test.cpp calls them, as all of the header's. */
  private static final Set<String> STATE =
      Set.of(
          "threads",
          "memory",
          "allocate",
          "release",
          "synchronize",
          "stream",
          "record",
          "recorded",
          "launch",
          "release_graph");

  static List<Case> cases() {
    return Cases.all();
  }

  @Test
  void everyFunctionOfTheHeaderIsCovered() {
    var functions = new ArrayList<String>();
    for (Header.Function f : Header.kernels()) functions.add(f.name());
    for (String name : STATE) assertTrue(functions.remove(name), name);
    assertEquals(functions, cases().stream().map(Case::name).toList());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void everyBuildGivesThePlainAnswerInTheSameBits(Case one) {
    check(one, 1, true, one.types().stream().flatMap(t -> one.calls(t).stream()).toList());
  }

  @ParameterizedTest
  @MethodSource("cases")
  void theBitsAreTheSameOnOneTwoAndThreeThreads(Case one) {
    List<Call> calls = one.types().stream().flatMap(t -> one.largeCalls(t).stream()).toList();
    List<Map<String, Array>> serial = check(one, 1, true, calls);
    for (int threads : new int[] {2, 3}) {
      List<Map<String, Array>> parallel = check(one, threads, false, calls);
      for (int i = 0; i < calls.size(); i++) same(calls.get(i), serial.get(i), parallel.get(i));
    }
  }

  /** Plays calls on every build and returns what the first one wrote, which all others equal. */
  private static List<Map<String, Array>> check(
      Case one, int threads, boolean answers, List<Call> calls) {
    List<String> builds = TestDevices.builds();
    assertFalse(builds.isEmpty(), "no library is built");
    var first = new ArrayList<Map<String, Array>>();
    var expected = new ArrayList<Map<String, Answers.Expected>>();
    for (Call call : calls) expected.add(answers ? Answers.of(call) : Map.of());
    for (String build : builds) {
      try (Library.Context context = TestDevices.library(build).open(0, threads, 0)) {
        for (int i = 0; i < calls.size(); i++) {
          Call call = calls.get(i);
          Map<String, Array> got = Player.play(context.kernels(), call);
          expected
              .get(i)
              .forEach(
                  (output, e) ->
                      assertNull(
                          e.limit().refuse(got.get(output), e.answer()),
                          () -> build + ": " + call + ": " + output));
          if (first.size() == i) first.add(got);
          else same(call, first.get(i), got);
        }
      }
    }
    return first;
  }

  private static void same(Call call, Map<String, Array> one, Map<String, Array> other) {
    for (String output : one.keySet()) {
      Array a = one.get(output);
      Array b = other.get(output);
      if (!a.type().isFloat()) {
        assertArrayEquals(a.content(), b.content(), () -> call + ": " + output);
        continue;
      }
      for (int i = 0; i < a.count(); i++) {
        // One NaN is as good as another; zeros keep their signs.
        int at = i;
        assertEquals(
            Double.doubleToLongBits(a.get(i)),
            Double.doubleToLongBits(b.get(i)),
            () -> call + ": " + output + "[" + at + "]: " + a.get(at) + " and " + b.get(at));
      }
    }
  }
}
