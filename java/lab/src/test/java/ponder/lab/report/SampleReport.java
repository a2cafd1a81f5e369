// SPDX-License-Identifier: Apache-2.0
package ponder.lab.report;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.SplittableRandom;
import java.util.stream.IntStream;

/** Made-up data of the size of a real report; nothing in it was measured. */
final class SampleReport {
  static final List<String> MODELS = List.of("sample-small", "sample-large", "sample-looped");
  static final double[] FRACTIONS = {1, 0.25, 0.0625, 0.015625};
  static final List<String> METHODS =
      List.of("greedy", "most likely", "shortest legal", "beam", "learned score", "constrained");
  static final int[] SPENDS = {1, 2, 4, 8, 16, 32, 64};
  private static final long QUERIES = 1000;
  private static final double RADIUS_KILOMETRES = 160;

  /** A wrong step goes this many times as far as an edge may. */
  private static final double FAR = 1.6;

  private static final JsonNodeFactory JSON = JsonNodeFactory.instance;

  private final SplittableRandom random = new SplittableRandom(7);
  private final int seeds;
  private final double[] latitude;
  private final double[] longitude;
  private final int[][] near;

  private SampleReport(int cities, int seeds) {
    this.seeds = seeds;
    latitude = new double[cities];
    longitude = new double[cities];
    for (int i = 0; i < cities; i++) {
      // A crude outline of the contiguous states.
      longitude[i] = round(random.nextDouble(-122, -75), 4);
      double south = longitude[i] < -105 ? 33 - (longitude[i] + 105) * 0.06 : 31;
      latitude[i] = round(random.nextDouble(south, longitude[i] > -84 ? 42 : 48), 4);
    }
    near = new int[cities][];
    for (int i = 0; i < cities; i++) {
      int from = i;
      near[i] =
          IntStream.range(0, cities)
              .filter(to -> kilometres(from, to) <= FAR * RADIUS_KILOMETRES)
              .toArray();
    }
  }

  /** Returns a report with everything in it, of at least 200 cities. */
  static ObjectNode full(int cities, int queries, int seeds) {
    return new SampleReport(cities, seeds).report(queries);
  }

  /** Returns a report of a run that measured nothing: every list is empty. */
  static ObjectNode empty() {
    ObjectNode report = full(200, 0, 1);
    for (String name : List.copyOf(report.properties().stream().map(e -> e.getKey()).toList())) {
      if (report.get(name).isArray()) {
        report.putArray(name);
      }
    }
    report.putNull("catchUp");
    ((ObjectNode) report.get("map")).putArray("cities");
    return report;
  }

  /** Returns a report whose every text is the given one. */
  static ObjectNode saying(String text) {
    return (ObjectNode) replaced(full(300, 2, 1), text);
  }

  private static JsonNode replaced(JsonNode node, String text) {
    if (node instanceof ObjectNode object) {
      List.copyOf(object.properties())
          .forEach(e -> object.set(e.getKey(), replaced(e.getValue(), text)));
      return object;
    }
    if (node instanceof ArrayNode array) {
      for (int i = 0; i < array.size(); i++) {
        array.set(i, replaced(array.get(i), text));
      }
      return array;
    }
    return node.isTextual() ? JSON.textNode(text) : node;
  }

  /** Writes a report to look at into the file named. */
  public static void main(String[] args) throws Exception {
    HtmlReport.write(Path.of(args[0]), full(1500, 24, 5));
  }

  private ObjectNode report(int queries) {
    ObjectNode report = JSON.objectNode();
    report.put("title", "Shortest paths between made-up cities");
    report.put("command", "ponder paths --cities sample.csv --top " + latitude.length);
    report.put("version", "0.1.0");
    report.put("commit", "abc1234");
    report.put("split", "clean");
    ArrayNode splits = report.putArray("splits");
    for (String name : new String[] {"ordered", "clean", "longer-path"}) {
      splits.addObject().put("name", name).put("text", "What " + name + " holds out, in words.");
    }
    IntStream.rangeClosed(1, seeds).forEach(report.putArray("seeds")::add);
    report
        .putObject("machine")
        .put("platform", "linux-x86_64")
        .put("library", "libponder_cpu_v4.so")
        .put("processor", "a processor of the sample, AVX-512")
        .put("threads", 2)
        .put("java", "25.0.3");
    report.set("data", data());
    report.set("verdicts", verdicts());
    report.set("baselines", baselines());
    report.set("curves", curves());
    contours(report);
    report.set("equalTotals", equalTotals());
    report.set("catchUp", catchUp());
    report.set("training", training());
    report.set("rows", rows());
    report.set("map", map(queries));
    return report;
  }

  private ObjectNode data() {
    return JSON.objectNode()
        .put("cities", latitude.length)
        .put("radiusKilometres", RADIUS_KILOMETRES)
        .put("orientation", "both-ways")
        .put("edges", 26 * latitude.length)
        .put("largestComponent", latitude.length)
        .put("sources", 300)
        .put("pairs", 2_248_500)
        .put("tiedPairs", 12)
        .put("longestSteps", 32)
        .put("split", "clean")
        .put("testPaths", 4000)
        .put("contained", 0.0)
        .put("containedReversed", 0.0)
        .put("graphHash", "6a1f0c9e5b2d4477")
        .put("pathsHash", "0d9e8c7b6a5f4e3d");
  }

  private ArrayNode verdicts() {
    ArrayNode verdicts = JSON.arrayNode();
    verdicts
        .addObject()
        .put("claim", "The shortest legal of 32 solves at least 10 points more than greedy")
        .put("held", true)
        .put(
            "text",
            "Clean split: 63.1 % against 41.0 %, 22.1 points (19.4 to 24.8), five seeds, all of"
                + " them above 17.")
        .putArray("details")
        .add("sample-small: 22.1 points (19.4 to 24.8)")
        .add("sample-large: 12.0 points (9.1 to 15.2)");
    verdicts
        .addObject()
        .put("claim", "Iterations past the trained depth go on helping")
        .put("held", false)
        .put("text", "Clean split: at four times the trained depth 3.2 points are lost.");
    verdicts
        .addObject()
        .put("claim", "A learned score chooses better than the likelihood does")
        .putNull("held")
        .put("text", "The interval holds zero: 0.8 points (-0.9 to 2.5).");
    return verdicts;
  }

  private ArrayNode baselines() {
    ArrayNode baselines = JSON.arrayNode();
    baselines.add(baseline("greedy walk", 4830, 0.541, 0.224));
    baselines.add(baseline("Dijkstra", 912_000, 1, 1));
    return baselines;
  }

  private ObjectNode baseline(String method, double testFlops, double solved, double optimal) {
    ObjectNode baseline = JSON.objectNode().put("method", method).put("testFlops", testFlops);
    baseline.set("solved", rate(solved));
    baseline.set("optimal", rate(optimal));
    return baseline;
  }

  private ArrayNode curves() {
    ArrayNode curves = JSON.arrayNode();
    for (int model = 0; model < MODELS.size(); model++) {
      for (double fraction : FRACTIONS) {
        for (int method = 0; method < METHODS.size(); method++) {
          ObjectNode curve =
              curves
                  .addObject()
                  .put("model", MODELS.get(model))
                  .put("parameters", parameters(model))
                  .put("method", METHODS.get(method))
                  .put("fraction", fraction)
                  .put("trainFlops", 1.5e13 * fraction)
                  .put("seeds", seeds);
          ArrayNode points = curve.putArray("points");
          for (int spend : spends(method)) {
            double solved = solved(model, fraction, method, spend);
            ObjectNode point =
                points
                    .addObject()
                    .put("spend", spend)
                    .put("testFlops", testFlops(model, method, spend));
            point.set("solved", rate(solved));
            point.set("optimal", rate(0.92 * solved - 0.03));
            point.put("worstSolved", round(solved - 0.02, 4));
          }
        }
      }
    }
    return curves;
  }

  private static int[] spends(int method) {
    return method == 0 ? new int[] {1} : SPENDS;
  }

  private static long parameters(int model) {
    return new long[] {291_000, 975_000, 310_000}[model];
  }

  private static double testFlops(int model, int method, int spend) {
    return new double[] {4.1e6, 1.3e7, 5.2e6}[model] * spend * (1 + 0.07 * method);
  }

  private static double solved(int model, double fraction, int method, int spend) {
    double trained = 1 + 0.16 * Math.log(fraction) / Math.log(4);
    double thought = 1 - Math.pow(spend, -0.25 - 0.05 * method);
    double base = (0.66 + 0.05 * model) * trained;
    return base + (0.985 - base) * thought * (0.6 + 0.06 * method);
  }

  private void contours(ObjectNode report) {
    ArrayNode contours = report.putArray("contours");
    ArrayNode kappa = report.putArray("kappa");
    for (double level : new double[] {0.7, 0.8, 0.9}) {
      for (int model = 0; model < MODELS.size(); model++) {
        for (int method = 1; method < 4; method++) {
          ObjectNode contour =
              contours
                  .addObject()
                  .put("model", MODELS.get(model))
                  .put("method", METHODS.get(method))
                  .put("level", level);
          ArrayNode points = contour.putArray("points");
          for (double fraction : FRACTIONS) {
            double flops =
                testFlops(model, method, 1) * Math.pow(fraction, -0.8 + 0.1 * method) * 20 * level;
            ObjectNode point = points.addObject().put("trainFlops", 1.5e13 * fraction);
            if (level > 0.85 && fraction < 0.02) {
              point.putNull("testFlops");
            } else {
              point.set("testFlops", estimate(flops, flops * 0.8, flops * 1.3));
            }
          }
          ObjectNode row =
              kappa
                  .addObject()
                  .put("model", MODELS.get(model))
                  .put("method", METHODS.get(method))
                  .put("level", level);
          row.set("kappa", estimate(0.8 - 0.1 * method, 0.7 - 0.1 * method, 0.95 - 0.1 * method));
        }
      }
    }
    ArrayNode throughput = report.putArray("throughput");
    ArrayNode breakEven = report.putArray("breakEven");
    for (double level : new double[] {0.7, 0.8, 0.9}) {
      ArrayNode points = throughput.addObject().put("level", level).putArray("points");
      for (double fraction : FRACTIONS) {
        double rate =
            level > 0.85 && fraction < 0.1 ? 0 : 900 * Math.pow(fraction, 0.6) * (1 - level);
        points
            .addObject()
            .put("trainFlops", 1.5e13 * fraction)
            .set("queriesPerSecond", estimate(rate, rate * 0.8, rate * 1.25));
      }
      ObjectNode row =
          breakEven
              .addObject()
              .put("level", level)
              .put("small", "sample-small, shortest legal")
              .put("large", "sample-large, greedy");
      if (level > 0.85) {
        row.putNull("queries");
        row.put("text", "The larger model does not reach it in a single pass.");
      } else {
        row.set("queries", estimate(3.1e5, 2.2e5, 4.6e5));
        row.put("text", "Up to 310 000 queries the smaller model is cheaper in all.");
      }
    }
  }

  private ArrayNode equalTotals() {
    ArrayNode totals = JSON.arrayNode();
    for (long queries : new long[] {1_000, 100_000, 10_000_000}) {
      for (double fraction : FRACTIONS) {
        for (int method = 1; method < 5; method++) {
          ObjectNode row =
              totals
                  .addObject()
                  .put("queries", queries)
                  .put("small", MODELS.get(0))
                  .put("method", METHODS.get(method))
                  .put("fraction", fraction)
                  .put("large", MODELS.get(1))
                  .put("rival", METHODS.get(0));
          // The score costs a training of its own, which few queries do not pay for.
          if (method == 4 && fraction == 1 && queries == 1_000) {
            row.putNull("spend").putNull("used").putNull("difference");
            row.put("verdict", "does not fit");
          } else {
            double difference = round(0.05 * Math.log(10 * fraction) - 0.01 * method, 4);
            row.put("spend", SPENDS[6 - method]).put("used", round(0.9 - 0.1 * method, 4));
            row.set("difference", estimate(difference, difference - 0.02, difference + 0.03));
            row.put(
                "verdict",
                difference > 0.02
                    ? "caught up"
                    : difference < -0.03 ? "not caught up" : "undecided");
          }
        }
      }
    }
    return totals;
  }

  private ObjectNode catchUp() {
    ObjectNode catchUp =
        JSON.objectNode()
            .put("small", "sample-small")
            .put("large", "sample-large")
            .put("caughtUp", true)
            .put("text", "Clean split: at equal training and equal compute for a query.");
    catchUp.set("difference", estimate(0.041, 0.012, 0.07));
    return catchUp;
  }

  private ArrayNode training() {
    ArrayNode training = JSON.arrayNode();
    for (int model = 0; model < MODELS.size(); model++) {
      for (double fraction : FRACTIONS) {
        for (int seed = 1; seed <= seeds; seed++) {
          ObjectNode row =
              training
                  .addObject()
                  .put("model", MODELS.get(model))
                  .put("seed", seed)
                  .put("fraction", fraction)
                  .put("parameters", parameters(model))
                  .put("steps", 4200 + seed)
                  .put("trainFlops", (long) (15_000_000_000_123L * fraction))
                  .put("seconds", 148.25 * fraction + seed)
                  .put("validationNats", 0.1834 / Math.sqrt(fraction) + 0.01 * seed);
          row.set("restNats", estimate(1.2, 1.1, 1.3));
          row.set("predictedExact", rate(0.64));
          row.set("going", model == 2 ? going(fraction, seed) : JSON.nullNode());
        }
      }
    }
    return training;
  }

  private ObjectNode going(double fraction, int seed) {
    ObjectNode going = JSON.objectNode().put("trainedRounds", 8).put("rounds", 64);
    ArrayNode residuals = going.putArray("residuals");
    for (int round = 1; round <= 64; round++) {
      residuals.add(Math.pow(round, -1.2 - 0.1 * seed) + 0.01 / fraction / 64);
    }
    going.set("fixed", rate(0.4));
    going.set("cycling", rate(0.02));
    return going;
  }

  private ArrayNode rows() {
    ArrayNode rows = JSON.arrayNode();
    for (int model = 0; model < MODELS.size(); model++) {
      for (double fraction : FRACTIONS) {
        for (int seed = 1; seed <= seeds; seed++) {
          for (int method = 0; method < METHODS.size(); method++) {
            for (int spend : spends(method)) {
              rows.add(row(model, fraction, seed, method, spend));
            }
          }
        }
      }
    }
    return rows;
  }

  private ObjectNode row(int model, double fraction, int seed, int method, int spend) {
    double solved = solved(model, fraction, method, spend) - 0.004 * seed;
    ObjectNode row =
        JSON.objectNode()
            .put("model", MODELS.get(model))
            .put("seed", seed)
            .put("parameters", parameters(model))
            .put("fraction", fraction)
            .put("trainFlops", (long) (15_000_000_000_123L * fraction))
            .put("method", METHODS.get(method))
            .put("spend", spend)
            .put("testFlopsPerQuery", testFlops(model, method, spend) * (1 + 1e-3 / seed))
            .put("queries", QUERIES);
    row.set("legalSteps", estimate(solved + 1e-2 / seed / spend, solved - 0.01 / spend, 1));
    row.set("legal", rate(Math.min(1, solved + 0.01)));
    row.set("endpoint", rate(Math.min(1, solved + 0.02)));
    row.set("solved", rate(solved));
    row.set("optimal", rate(solved * 0.9));
    row.set("exact", rate(solved * 0.8));
    row.set("firstMove", model == 2 ? estimate(Double.NaN, 0, 1) : rate(solved * 0.97));
    for (int percent : new int[] {101, 105, 110, 150}) {
      row.set("stretch" + percent, rate(solved * percent / 151));
    }
    return row;
  }

  private ObjectNode map(int count) {
    ObjectNode map = JSON.objectNode();
    ArrayNode cities = map.putArray("cities");
    for (int i = 0; i < latitude.length; i++) {
      cities
          .addObject()
          .put("name", "Sample " + i)
          .put("state", "ZZ")
          .put("latitude", latitude[i])
          .put("longitude", longitude[i]);
    }
    ArrayNode queries = map.putArray("queries");
    while (queries.size() < count) {
      int source = random.nextInt(latitude.length);
      int target = random.nextInt(latitude.length);
      List<Integer> truth = walk(source, target, 0);
      if (truth.getLast() == target && truth.size() > 3) {
        ObjectNode query =
            queries
                .addObject()
                .put("source", source)
                .put("target", target)
                .put("kilometres", round(length(truth), 3));
        truth.forEach(query.putArray("truth")::add);
        answers(query.putArray("answers"), truth);
      }
    }
    return map;
  }

  private void answers(ArrayNode answers, List<Integer> truth) {
    for (int model = 0; model < MODELS.size(); model++) {
      for (double fraction : FRACTIONS) {
        for (int method = 0; method < METHODS.size(); method++) {
          for (int spend : spends(method)) {
            // The more is spent, the less the walk errs.
            double error = 0.5 * (1 - solved(model, fraction, method, spend));
            List<Integer> path = walk(truth.getFirst(), truth.getLast(), error);
            boolean legal = path.getLast().equals(truth.getLast()) && isLegal(path);
            double stretch = length(path) / length(truth);
            ObjectNode answer =
                answers
                    .addObject()
                    .put("model", MODELS.get(model))
                    .put("fraction", fraction)
                    .put("method", METHODS.get(method))
                    .put("spend", spend)
                    .put("testFlops", testFlops(model, method, spend));
            path.forEach(answer.putArray("path")::add);
            answer.put("legal", legal).put("solved", legal && stretch <= 1.1);
            answer.put("optimal", legal && stretch <= 1);
            if (legal) {
              answer.put("stretch", round(stretch, 4));
            } else {
              answer.putNull("stretch");
            }
          }
        }
      }
    }
  }

  /** Steps to the city nearest the target within the radius; errs with a probability. */
  private List<Integer> walk(int source, int target, double error) {
    List<Integer> path = new ArrayList<>(List.of(source));
    int at = source;
    while (at != target && path.size() < 40) {
      int next = at;
      boolean errs = random.nextDouble() < error;
      for (int i : near[at]) {
        boolean fits = errs ? random.nextDouble() < 0.3 : kilometres(at, i) <= RADIUS_KILOMETRES;
        if (fits && kilometres(i, target) < kilometres(next, target)) {
          next = i;
        }
      }
      if (next == at) {
        return path;
      }
      path.add(next);
      at = next;
    }
    return path;
  }

  private boolean isLegal(List<Integer> path) {
    for (int i = 1; i < path.size(); i++) {
      if (kilometres(path.get(i - 1), path.get(i)) > RADIUS_KILOMETRES) {
        return false;
      }
    }
    return true;
  }

  private double length(List<Integer> path) {
    double length = 0;
    for (int i = 1; i < path.size(); i++) {
      length += kilometres(path.get(i - 1), path.get(i));
    }
    return length;
  }

  private double kilometres(int a, int b) {
    double up = Math.toRadians(latitude[b] - latitude[a]) / 2;
    double over = Math.toRadians(longitude[b] - longitude[a]) / 2;
    double parallels =
        Math.cos(Math.toRadians(latitude[a])) * Math.cos(Math.toRadians(latitude[b]));
    double haversine = Math.sin(up) * Math.sin(up) + parallels * Math.sin(over) * Math.sin(over);
    return 2 * 6371.0088 * Math.asin(Math.min(1, Math.sqrt(haversine)));
  }

  /** A share of the queries, with all its digits. */
  private static ObjectNode rate(double share) {
    double p = Math.rint(Math.max(0, Math.min(1, share)) * QUERIES) / QUERIES;
    double half = 1.96 * Math.sqrt(p * (1 - p) / QUERIES) + 1.96 / QUERIES;
    return estimate(p, Math.max(0, p - half), Math.min(1, p + half));
  }

  private static ObjectNode estimate(double value, double low, double high) {
    return JSON.objectNode().put("value", value).put("low", low).put("high", high);
  }

  private static double round(double x, int places) {
    double scale = Math.pow(10, places);
    return Math.round(x * scale) / scale;
  }
}
