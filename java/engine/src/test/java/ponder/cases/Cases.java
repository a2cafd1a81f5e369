// SPDX-License-Identifier: Apache-2.0
package ponder.cases;

import static ponder.cases.Values.ANY;
import static ponder.cases.Values.BENDS;
import static ponder.cases.Values.CARRIED;
import static ponder.cases.Values.CORNERS;
import static ponder.cases.Values.EITHER;
import static ponder.cases.Values.LOGITS;
import static ponder.cases.Values.POSITIVE;
import static ponder.cases.Values.QUERIES;
import static ponder.cases.Values.ROWS;
import static ponder.cases.Values.UNIT;
import static ponder.cases.Values.WEIGHTS;

import java.util.ArrayList;
import java.util.List;
import ponder.Tensor;
import ponder.op.Boundaries;
import ponder.op.CrossEntropy;
import ponder.op.Gelu;
import ponder.op.Gru;
import ponder.op.LayerNorm;
import ponder.op.Lstm;
import ponder.op.RmsNorm;
import ponder.op.Rotary;
import ponder.op.Silu;
import ponder.op.Softmax;
import ponder.op.SquareSum;
import ponder.op.TopKRead;

/**
 * Every function of the header that computes or moves numbers, one entry each. Tests, tapes and
 * benchmarks are made from these entries alone.
 */
public final class Cases {
  private Cases() {}

  private static final Type[] EVERY = {Type.F32, Type.F64, Type.I32, Type.BF16};
  static final Type[] STORED = {Type.F32, Type.F64, Type.BF16};

  /** Returns every case, in the header's order. */
  public static List<Case> all() {
    var cases = new ArrayList<Case>();
    memory(cases);
    elements(cases);
    axes(cases);
    moves(cases);
    indices(cases);
    numbers(cases);
    layers(cases);
    positions(cases);
    losses(cases);
    AttentionCases.add(cases);
    memories(cases);
    FeedbackCases.add(cases);
    reads(cases);
    FastWeightsCases.add(cases);
    MaskCases.add(cases);
    optimisers(cases);
    return List.copyOf(cases);
  }

  /** Returns the case of a function, by its name without {@code pnd_}. */
  public static Case of(String name) {
    return all().stream().filter(c -> c.name().equals(name)).findAny().orElseThrow();
  }

  private static void memory(List<Case> cases) {
    for (String name : List.of("upload", "download", "copy")) {
      cases.add(
          new Case(name)
              .words("to words", Array.Use.WRITTEN)
              .words("from words", Array.Use.READ)
              .types(Type.F32)
              .table("words bytes", "1 4", "7 28", "301 1204")
              .exact());
    }
  }

  private static void elements(List<Case> cases) {
    cases.add(
        new Case("fill")
            .out("y n")
            .types(EVERY)
            .table("n value", "1 0", "3 -7", "17 0.1", "33 -0.001", "301 1000000")
            .large("100003 3")
            .exact());
    cases.add(
        new Case("cast")
            .types(STORED)
            .out("y n")
            .from("x n", EITHER)
            .table("n from", "1 0", "7 1", "33 3", "301 0", "301 1", "301 3")
            .large("100003 0", "100003 1", "100003 3")
            .exact());
    cases.add(
        new Case("affine")
            .out("y n")
            .in("x n", ANY)
            .table("n scale shift", "1 2 1", "3 -0.1 0", "7 0 3", "33 1e-3 -2", "301 3 0.7")
            .large("100003 1.1 -0.3")
            .op((call, in) -> in[0].affine(call.real("scale"), call.real("shift"))));
    cases.add(
        new Case("power")
            .out("y n")
            // Only whole exponents take numbers below zero.
            .in("x n", p -> (p.call().real("exponent") % 1 == 0 ? ANY : POSITIVE).at(p))
            .table(
                "n exponent",
                "7 -2",
                "17 -1",
                "33 -0.5",
                "3 0",
                "301 0.5",
                "1 1",
                "33 2",
                "17 3",
                "301 1.7",
                "33 -0.3",
                "7 5.5")
            .large("100003 1.7")
            .op((call, in) -> in[0].power(call.real("exponent"))));
    // Two ULP, and in double those of the answer itself, which no faster library gives exactly.
    function(cases, "exp", 1, (call, in) -> in[0].exp());
    function(cases, "log", 1, (call, in) -> in[0].log());
    function(cases, "tanh", 2.5, (call, in) -> in[0].tanh());
    function(cases, "sigmoid", 2, (call, in) -> in[0].sigmoid());
    pair(cases, "add", (call, in) -> in[0].add(middle(call, in[1])));
    pair(cases, "sub", (call, in) -> in[0].sub(middle(call, in[1])));
    pair(cases, "mul", (call, in) -> in[0].mul(middle(call, in[1])));
    pair(cases, "div", (call, in) -> in[0].div(middle(call, in[1])));
    pair(cases, "maximum", (call, in) -> in[0].maximum(middle(call, in[1])));
    pair(cases, "greater", (call, in) -> in[0].greater(middle(call, in[1])));
  }

  private static void function(List<Case> cases, String name, double answer, Case.Build op) {
    cases.add(
        new Case(name)
            .out("y n")
            .in("x n", CORNERS)
            .table("n", "1", "3", "7", "17", "33", "301")
            .large("100003")
            .limit(call -> Limit.ulps(call.type() == Type.F32 ? 2 : 2 + answer))
            .op(op));
  }

  private static void pair(List<Case> cases, String name, Case.Build op) {
    cases.add(
        new Case(name)
            .out("y outer mid inner")
            .in("a outer mid inner", EITHER)
            .in("b outer inner", EITHER)
            .table(
                "outer mid inner",
                "1 1 1",
                "1 1 301",
                "1 7 33",
                "17 33 1",
                "3 7 17",
                "2 1 7",
                "3 5 40")
            .large("1 301 333", "31 33 101")
            .exact()
            .op(op));
  }

  /** Returns b [outer, inner] as it stands to a [outer, mid, inner]. */
  private static Tensor middle(Call call, Tensor b) {
    return b.reshape(call.number("outer"), 1, call.number("inner"));
  }

  private static void axes(List<Case> cases) {
    String columns = "outer mid inner";
    String[] rows = {
      "1 1 1", "1 3 7", "3 33 1", "7 17 3", "2 301 1", "1 65 33", "3 5 16", "5 40 1"
    };
    cases.add(
        new Case("sum")
            .out("y outer inner")
            .in("x outer mid inner", ANY)
            .table(columns, rows)
            .large("301 333 1", "1 1001 301")
            .op((call, in) -> in[0].sum(1)));
    cases.add(
        new Case("largest")
            .out("y outer inner")
            .in("x outer mid inner", EITHER)
            .table(columns, rows)
            .large("301 333 1", "1 1001 301")
            .exact()
            .op((call, in) -> in[0].largest(1)));
    cases.add(
        new Case("broadcast")
            .out("y outer mid inner")
            .in("x outer inner", ANY)
            .types(EVERY)
            .table(columns, rows)
            .large("31 33 101")
            .exact()
            .op((call, in) -> in[0].broadcast(1, call.number("mid"))));
    cases.add(
        new Case("square_sum")
            .out("y 1")
            .in("x n", ANY)
            .table("n", "1", "3", "7", "17", "33", "301")
            .large("100003")
            .op((call, in) -> SquareSum.squareSum(in[0]), call -> new SquareSum()));
  }

  private static void moves(List<Case> cases) {
    cases.add(
        new Case("swap_axes")
            .out("y outer second mid first inner")
            .in("x outer first mid second inner", ANY)
            .types(EVERY)
            .table(
                "outer first mid second inner",
                "1 1 1 1 1",
                "3 7 1 17 1",
                "2 3 5 7 3",
                "1 33 1 17 1",
                "1 7 3 2 33",
                "2 17 1 3 8",
                "2 8 3 16 1",
                "1 5 2 3 16")
            .large("2 65 3 67 5", "1 301 1 303 1")
            .exact()
            .op((call, in) -> in[0].swapAxes(1, 3)));
    cases.add(
        new Case("slice")
            .out("y outer count inner")
            .in("x outer size inner", ANY)
            .types(EVERY)
            .table(
                "outer size inner start count",
                "1 1 1 0 1",
                "3 7 1 2 3",
                "7 17 3 16 1",
                "2 33 17 0 33",
                "1 301 7 100 150",
                "3 7 8 2 4")
            .large("31 303 33 2 300")
            .exact()
            .op((call, in) -> in[0].slice(1, call.number("start"), call.number("count"))));
    cases.add(
        new Case("pad")
            .out("y outer size inner")
            .in("x outer count inner", ANY)
            .types(EVERY)
            .table(
                "outer size inner start count",
                "1 1 1 0 1",
                "3 7 1 2 3",
                "7 17 3 16 1",
                "2 33 17 0 33",
                "1 301 7 100 150",
                "3 7 8 2 4")
            .large("31 303 33 2 300")
            .exact()
            .op((call, in) -> in[0].pad(1, call.number("start"), call.number("size"))));
    cases.add(
        new Case("put")
            .update("y outer size inner", ANY)
            .in("x outer count inner", ANY)
            .index("start outer", 0, "size-count+1")
            .types(EVERY)
            .table(
                "outer size inner count",
                "1 1 1 1",
                "3 7 1 3",
                "7 17 3 1",
                "2 33 17 33",
                "17 31 7 2",
                "3 7 8 4")
            .large("31 303 33 300")
            .exact());
    cases.add(
        new Case("concat")
            .out("y outer a_size+b_size inner")
            .in("a outer a_size inner", ANY)
            .in("b outer b_size inner", ANY)
            .types(EVERY)
            .table(
                "outer a_size b_size inner",
                "1 1 1 1",
                "3 7 1 1",
                "7 3 17 3",
                "1 33 301 7",
                "3 2 4 8")
            .large("31 101 203 33")
            .exact()
            .op((call, in) -> in[0].concat(in[1], 1)));
  }

  private static void indices(List<Case> cases) {
    String columns = "count rows cols";
    String[] rows = {"1 1 1", "3 7 1", "17 3 7", "301 33 3", "7 301 33", "7 5 16"};
    cases.add(
        new Case("gather")
            .out("y count cols")
            .in("table rows cols", ANY)
            .index("index count", 0, "rows")
            .types(STORED)
            .table(columns, rows)
            .large("1001 303 101")
            .exact()
            .op((call, in) -> in[0].gather(in[1])));
    cases.add(
        new Case("scatter_add")
            .out("table rows cols")
            .in("x count cols", ANY)
            .index("index count", 0, "rows")
            .table(columns, rows)
            .large("1001 303 101")
            .op((call, in) -> in[0].scatterAdd(in[1], call.number("rows"))));
    cases.add(
        new Case("one_hot")
            .out("y count classes")
            .index("index count", -1, "classes")
            .table("count classes", "1 1", "3 7", "33 17", "7 301")
            .large("1001 303")
            .exact());
  }

  private static void numbers(List<Case> cases) {
    cases.add(
        new Case("philox")
            .words("y n", Array.Use.WRITTEN)
            .step("step")
            .types(Type.F32)
            .table(
                "n first row key",
                "1 0 0 0",
                "7 3 5 0x123456789abcdef",
                "33 4294967295 -1 -77",
                "301 -2 1 -1")
            .large("100003 0 3 99")
            .exact());
    cases.add(
        new Case("uniform")
            .out("y n")
            .step("step")
            .table("n row key", "1 0 0", "3 1 -5", "17 -1 77", "33 2 0x123456789abcdef", "301 0 9")
            .large("100003 3 99")
            .exact());
    cases.add(
        new Case("matmul")
            .types(STORED)
            .ownBits(Type.BF16)
            .out("y batch rows cols")
            .in("a batch rows inner", ANY)
            .in("b batch inner cols", ANY)
            .table(
                "batch rows cols inner a_transposed b_transposed",
                "1 1 1 1 0 0",
                "1 3 7 17 0 0",
                "1 17 33 7 1 0",
                "1 33 17 3 0 1",
                "1 7 3 33 1 1",
                "3 17 7 5 0 0",
                "3 7 17 5 1 0",
                "7 3 5 17 0 1",
                "3 5 7 3 1 1",
                "1 1 33 301 0 1",
                "1 301 1 7 0 0",
                "2 65 67 33 1 1",
                "2 24 16 40 0 0",
                "2 16 24 40 1 0",
                "1 24 40 16 0 1",
                "2 40 16 24 1 1",
                "1 136 72 32 0 0")
            .large("1 150 260 130 0 0", "1 129 257 300 1 0", "9 65 70 33 0 1", "1 301 303 17 1 1")
            .op(Cases::matmul));
  }

  private static Tensor matmul(Call call, Tensor... in) {
    boolean aTransposed = call.number("a_transposed") != 0;
    boolean bTransposed = call.number("b_transposed") != 0;
    // The case's arrays are stated untransposed: a transposed one has its last two sizes exchanged.
    long batch = call.number("batch");
    long inner = call.number("inner");
    Tensor a = aTransposed ? in[0].reshape(batch, inner, call.number("rows")) : in[0];
    Tensor b = bTransposed ? in[1].reshape(batch, call.number("cols"), inner) : in[1];
    return a.matmul(b, aTransposed, bTransposed);
  }

  private static void layers(List<Case> cases) {
    String[] rows = {"1 1", "3 7", "7 3", "17 33", "2 301", "130 5", "5 40"};
    Case softmax =
        new Case("softmax")
            .out("y rows cols")
            .in("x rows cols", LOGITS)
            .table("rows cols", rows)
            .large("301 333")
            .op((call, in) -> Softmax.softmax(in[0]), call -> new Softmax());
    cases.add(softmax);
    cases.add(
        new Case("softmax_backward")
            .out("dx rows cols")
            .in("dy rows cols", ANY)
            .after(softmax)
            .table("rows cols", rows)
            .large("301 333"));
    String[] normRows = {
      "1 1 1e-5", "3 7 1e-5", "7 3 1e-3", "17 33 1e-5", "2 301 1e-5", "130 5 1e-5"
    };
    Case layerNorm =
        new Case("layer_norm")
            .out("y rows cols", "mean rows", "rstd rows")
            .in("x rows cols", ROWS)
            .in("gain cols", ANY)
            .in("bias cols", ANY)
            .table("rows cols eps", normRows)
            .large("301 333 1e-5")
            .op(
                (call, in) -> LayerNorm.layerNorm(in[0], in[1], in[2], call.real("eps")),
                call -> new LayerNorm(call.real("eps")));
    cases.add(layerNorm);
    cases.add(
        new Case("layer_norm_backward")
            .out("dx rows cols", "dgain cols", "dbias cols")
            .in("dy rows cols", ANY)
            .after(layerNorm)
            .table("rows cols eps", normRows)
            .large("301 333 1e-5"));
    Case rmsNorm =
        new Case("rms_norm")
            .out("y rows cols", "scale rows")
            .in("x rows cols", ROWS)
            .in("gain cols", ANY)
            .table("rows cols eps", normRows)
            .large("301 333 1e-5")
            .op(
                (call, in) -> RmsNorm.rmsNorm(in[0], in[1], call.real("eps")),
                call -> new RmsNorm(call.real("eps")));
    cases.add(rmsNorm);
    cases.add(
        new Case("rms_norm_backward")
            .out("dx rows cols", "dgain cols")
            .in("dy rows cols", ANY)
            .after(rmsNorm)
            .table("rows cols eps", normRows)
            .large("301 333 1e-5"));
    String[] counts = {"1", "3", "7", "17", "33", "301"};
    Case gelu =
        new Case("gelu")
            .out("y n")
            .in("x n", BENDS)
            .table("n", counts)
            .large("100003")
            .op((call, in) -> Gelu.gelu(in[0]), call -> new Gelu());
    Case silu =
        new Case("silu")
            .out("y n")
            .in("x n", BENDS)
            .table("n", counts)
            .large("100003")
            .op((call, in) -> Silu.silu(in[0]), call -> new Silu());
    for (Case forward : List.of(gelu, silu)) {
      cases.add(forward);
      cases.add(
          new Case(forward.name() + "_backward")
              .out("dx n")
              .in("dy n", ANY)
              .after(forward)
              .table("n", counts)
              .large("100003"));
    }
  }

  private static void positions(List<Case> cases) {
    String columns = "batch steps heads head_size start base";
    String[] rows = {
      "1 1 1 2 0 10000",
      "2 3 2 6 5 10000",
      "1 7 3 16 1000 500",
      "3 17 1 34 0 10000",
      "1 33 2 66 2000 10000"
    };
    cases.add(
        new Case("rotary")
            .out("y batch steps heads head_size")
            .in("x batch steps heads head_size", ANY)
            .table(columns, rows)
            .large("3 65 4 64 7 10000", "1 33 2 66 100000 10000")
            .op(
                (call, in) -> Rotary.rotary(in[0], call.number("start"), call.real("base")),
                call -> new Rotary(call.number("start"), call.real("base"))));
    cases.add(
        new Case("rotary_backward")
            .out("dx batch steps heads head_size")
            .in("dy batch steps heads head_size", ANY)
            .table(columns, rows)
            .large("3 65 4 64 7 10000"));
  }

  private static void losses(List<Case> cases) {
    String[] rows = {
      "1 1 1", "3 7 1", "7 3 17", "17 33 7", "3 301 33", "70 17 3", "33 1 7", "5 24 16"
    };
    Case loss =
        new Case("cross_entropy")
            .out("loss rows", "lse rows")
            .in("x rows width", ANY)
            .in("weight classes width", WEIGHTS)
            .index("target rows", -1, "classes")
            .table("rows classes width", rows)
            .large("129 301 33", "301 130 65")
            .op(
                (call, in) -> CrossEntropy.crossEntropy(in[0], in[1], in[2]),
                call -> new CrossEntropy());
    cases.add(loss);
    cases.add(
        new Case("cross_entropy_backward")
            .out("dx rows width", "dweight classes width")
            .in("dloss rows", ANY)
            .after(loss)
            .table("rows classes width", rows)
            .large("129 301 33", "301 130 65"));
  }

  private static void memories(List<Case> cases) {
    String columns = "batch steps width resets lengths";
    String[] rows = {
      "1 1 1 null null",
      "3 7 5 null null",
      "2 17 33 null null",
      "5 3 64 null null",
      "7 1 17 null null",
      "1 301 3 null null",
      "3 7 5 given null",
      "5 9 17 null given",
      "7 5 33 given given"
    };
    String[] large = {"17 20 65 null null", "33 5 130 null null", "40 9 70 given given"};
    Case forward =
        new Case("gru")
            .types(STORED)
            .ownBits(Type.BF16)
            .out("hidden batch steps width", "gates batch steps 4 width")
            .in("x batch steps 3 width", ANY)
            .in("weight 3 width width", CARRIED)
            .inSums("bias 3 width", WEIGHTS)
            .in("initial batch width", WEIGHTS)
            .index("resets batch steps", 0, 2)
            .index("lengths batch", 0, "steps+1")
            .table(columns, rows)
            .large(large)
            .limit(Cases::recurrent)
            .op(
                (call, in) -> Gru.gru(in[0], in[1], in[2], in[3], new Boundaries(in[4], in[5])),
                call -> new Gru(call.given("resets"), call.given("lengths")));
    cases.add(forward);
    cases.add(
        new Case("gru_backward")
            .types(STORED)
            .ownBits(Type.BF16)
            .out("dx batch steps 3 width", "dweight 3 width width")
            .sums("dbias 3 width")
            .out("dinitial batch width")
            .in("dhidden batch steps width", ANY)
            .after(forward)
            .table(columns, rows)
            .large(large)
            .limit(Cases::recurrentSlopes));
    Case lstm =
        new Case("lstm")
            .types(STORED)
            .ownBits(Type.BF16)
            .out("hidden batch steps width")
            .sums("cells batch steps width")
            .out("gates batch steps 4 width")
            .in("x batch steps 4 width", ANY)
            .in("weight 4 width width", CARRIED)
            .inSums("bias 4 width", WEIGHTS)
            .in("initial_hidden batch width", WEIGHTS)
            .inSums("initial_cell batch width", WEIGHTS)
            .index("resets batch steps", 0, 2)
            .index("lengths batch", 0, "steps+1")
            .table(columns, rows)
            .large(large)
            .limit(Cases::recurrent)
            .op(
                (call, in) ->
                    Lstm.lstm(in[0], in[1], in[2], in[3], in[4], new Boundaries(in[5], in[6])),
                call -> new Lstm(call.given("resets"), call.given("lengths")));
    cases.add(lstm);
    cases.add(
        new Case("lstm_backward")
            .types(STORED)
            .ownBits(Type.BF16)
            .out("dx batch steps 4 width", "dweight 4 width width")
            .sums("dbias 4 width")
            .out("dinitial_hidden batch width")
            .sums("dinitial_cell batch width")
            .in("dhidden batch steps width", ANY)
            .inSums("dlast_cell batch width", ANY)
            .after(lstm)
            .table(columns + " dlast_cell", withEither(rows))
            .large(withEither(large))
            .limit(Cases::recurrentSlopes));
  }

  /** Returns the rows with a last column that is null and given in turn. */
  private static String[] withEither(String... rows) {
    String[] result = new String[rows.length];
    for (int i = 0; i < rows.length; i++) result[i] = rows[i] + (i % 2 == 0 ? " null" : " given");
    return result;
  }

  /** Recurrent errors grow with the steps: the limit is on the whole array's norm. */
  private static Limit recurrent(Call call) {
    return switch (call.type()) {
      case F32 -> Limit.relative(1e-5);
      case BF16 -> Limit.relative(1e-2);
      default -> null;
    };
  }

  private static Limit recurrentSlopes(Call call) {
    return call.type() == Type.BF16 ? Limit.relative(2e-2) : recurrent(call);
  }

  private static void reads(List<Case> cases) {
    String columns = "batch queries slots key_size value_size count start scale lengths";
    String[] rows = {
      "1 1 1 1 1 1 -1 1 null",
      "2 3 7 5 3 2 -1 0.4 null",
      "1 7 17 3 7 17 -1 0.5 given",
      "3 5 33 4 17 40 -1 0.5 given",
      "1 17 65 33 5 3 -1 0.17 null",
      "2 17 17 4 3 3 0 0.5 null",
      "2 5 9 4 3 3 6 0.5 given",
      "2 2 7 1 1 3 -1 0 null"
    };
    String[] large = {"2 150 300 32 16 8 0 0.18 given", "1 70 700 16 33 32 -1 0.25 null"};
    Case forward =
        new Case("top_k_read")
            .out("out batch queries value_size", "p batch queries count")
            .words("index batch queries count", Array.Use.WRITTEN)
            .in("q batch queries key_size", QUERIES)
            .in("keys batch slots key_size", QUERIES)
            .in("values batch slots value_size", ANY)
            .index("lengths batch queries", 0, "slots+1")
            .table(columns, rows)
            .large(large)
            .op(
                (call, in) ->
                    in[3] == null
                        ? read(call).read(in[0], in[1], in[2])
                        : read(call).read(in[0], in[1], in[2], in[3]),
                Cases::read);
    cases.add(forward);
    cases.add(
        new Case("top_k_read_backward")
            .out(
                "dq batch queries key_size",
                "dkeys batch slots key_size",
                "dvalues batch slots value_size")
            .in("dout batch queries value_size", ANY)
            .after(forward)
            .table(columns, rows)
            .large(large)
            .times(3, "dq", "dkeys"));
  }

  private static TopKRead read(Call call) {
    return new TopKRead(
        call.number("count"), call.number("start"), call.real("scale"), call.given("lengths"));
  }

  private static void optimisers(List<Case> cases) {
    cases.add(
        new Case("adamw")
            .update("parameter n", ANY)
            .update("first n", ANY)
            .update("second n", POSITIVE)
            .in("gradient n", ANY)
            .in("rate 1", UNIT)
            .index("step 1", 1, 100000)
            .in("scale 1", UNIT)
            .table(
                "n beta1 beta2 eps decay",
                "1 0.9 0.999 1e-8 0",
                "7 0.9 0.95 1e-8 0.1",
                "33 0 0.5 1e-3 0.01",
                "301 0.9 0.999 1e-8 0.01")
            .large("100003 0.9 0.999 1e-8 0.01"));
    cases.add(
        new Case("sgd")
            .update("parameter n", ANY)
            .update("velocity n", ANY)
            .in("gradient n", ANY)
            .in("rate 1", UNIT)
            .in("scale 1", UNIT)
            .table("n momentum decay", "1 0 0", "7 0.9 0", "33 0 0.1", "301 0.9 0.01")
            .large("100003 0.9 0.01"));
  }
}
