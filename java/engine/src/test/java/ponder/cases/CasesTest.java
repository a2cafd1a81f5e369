// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
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
    builds(one, one.types().stream().flatMap(t -> one.calls(t).stream()).toList(), 1);
  }

  @ParameterizedTest
  @MethodSource("cases")
  void theBitsAreTheSameOnOneTwoAndThreeThreads(Case one) {
    builds(one, one.types().stream().flatMap(t -> one.largeCalls(t).stream()).toList(), 1, 2, 3);
  }

  /** Were an array let pass that is shorter than its sizes, the library would leave it. */
  @ParameterizedTest
  @MethodSource("cases")
  void anArrayThatLacksAByteIsRefused(Case one) {
    try (Library.Context context = TestDevices.library("base").open(0, 1, 0)) {
      for (Type type : one.types()) {
        for (Call call : one.calls(type)) {
          if (call.turn() != Turn.RANDOM) continue;
          call.arguments()
              .forEach(
                  (name, value) -> {
                    if (!(value instanceof Array)) return;
                    var e =
                        assertThrows(
                            IllegalArgumentException.class,
                            () -> Player.playShort(context.kernels(), call, name),
                            () -> call + ": " + name);
                    assertTrue(e.getMessage().startsWith("an array has "), e.getMessage());
                  });
        }
      }
    }
  }

  /**
   * Plays calls on every build: the answer is right, the same on all those numbers of threads, and
   * the same as another build's.
   */
  private static void builds(Case one, List<Call> calls, int... threads) {
    List<String> builds = TestDevices.builds();
    assertFalse(builds.isEmpty(), "no library is built");
    var expected = new ArrayList<Map<String, Answers.Expected>>();
    for (Call call : calls) expected.add(Answers.of(call));
    List<Map<String, Array>> first = null;
    for (String build : builds) {
      List<Map<String, Array>> own = play(build, calls, threads[0]);
      for (int i = 0; i < calls.size(); i++) {
        Call call = calls.get(i);
        Map<String, Array> got = own.get(i);
        expected
            .get(i)
            .forEach(
                (output, e) ->
                    assertNull(
                        e.limit().refuse(got.get(output), e.answer()),
                        () -> build + ": " + call + ": " + output));
        if (first != null && !one.hasOwnBits(call.type())) same(call, first.get(i), got);
      }
      for (int t = 1; t < threads.length; t++) {
        List<Map<String, Array>> parallel = play(build, calls, threads[t]);
        for (int i = 0; i < calls.size(); i++) same(calls.get(i), own.get(i), parallel.get(i));
      }
      if (first == null) first = own;
    }
  }

  /** Returns what a build writes for each call. */
  private static List<Map<String, Array>> play(String build, List<Call> calls, int threads) {
    try (Library.Context context = TestDevices.library(build).open(0, threads, 0)) {
      return calls.stream().map(call -> Player.play(context.kernels(), call)).toList();
    }
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
