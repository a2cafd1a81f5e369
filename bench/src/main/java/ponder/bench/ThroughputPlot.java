// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;
import ponder.lab.statistics.Estimate;

/**
 * X against C as an SVG picture, both logarithmic: a line for each level, with the intervals. What
 * is infeasible lies on the line of 0, below all others.
 */
final class ThroughputPlot {
  private static final int WIDTH = 700;
  private static final int HEIGHT = 380;
  private static final int LEFT = 70;
  private static final int RIGHT = 560;
  private static final int TOP = 20;
  private static final int BOTTOM = 290;
  private static final int ZERO = 320;
  private static final List<String> COLOURS = List.of("#9ecae1", "#4292c6", "#08519c", "#000000");

  private final List<Throughput.Point> points;
  private final int[] x;
  private final int[] y;
  private final StringBuilder svg = new StringBuilder();

  private ThroughputPlot(Throughput t) {
    points = t.points();
    x = decades(points.stream().mapToDouble(Throughput.Point::trainFlops).toArray());
    y =
        decades(
            points.stream()
                .map(Throughput.Point::queriesPerSecond)
                .flatMapToDouble(e -> Arrays.stream(new double[] {e.value(), e.low(), e.high()}))
                .filter(rate -> rate > 0)
                .toArray());
  }

  /** Returns the powers of ten around some numbers; one decade of none. */
  private static int[] decades(double[] values) {
    double least = Arrays.stream(values).min().orElse(1);
    double most = Arrays.stream(values).max().orElse(1);
    int low = (int) Math.floor(Math.log10(least));
    return new int[] {low, Math.max(low + 1, (int) Math.ceil(Math.log10(most)))};
  }

  /** Returns the picture. */
  static String of(Throughput t) {
    return new ThroughputPlot(t).draw();
  }

  private String draw() {
    add(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\""
            + " font-size=\"13\">",
        WIDTH, HEIGHT);
    add("<title>Queries per second against training FLOPs</title>");
    add("<rect width=\"%d\" height=\"%d\" fill=\"#ffffff\"/>", WIDTH, HEIGHT);
    for (int decade = x[0]; decade <= x[1]; decade++) {
      double at = across(Math.pow(10, decade));
      line(at, TOP, at, ZERO, "#dddddd");
      text(at, ZERO + 18, "middle", "1e" + decade);
    }
    for (int decade = y[0]; decade <= y[1]; decade++) {
      double at = up(Math.pow(10, decade));
      line(LEFT, at, RIGHT, at, "#dddddd");
      text(LEFT - 8, at + 4, "end", "1e" + decade);
    }
    line(LEFT, ZERO, RIGHT, ZERO, "#888888");
    text(LEFT - 8, ZERO + 4, "end", "0");
    text((LEFT + RIGHT) / 2.0, ZERO + 42, "middle", "C, training FLOPs");
    add(
        "<text transform=\"translate(18 %d) rotate(-90)\" text-anchor=\"middle\">X,"
            + " queries/s</text>",
        (TOP + BOTTOM) / 2);
    for (int level = 0; level < Throughput.LEVELS.length; level++) level(level);
    add("</svg>");
    return svg.toString();
  }

  private void level(int number) {
    double level = Throughput.LEVELS[number];
    String colour = COLOURS.get(number);
    List<Throughput.Point> own = points.stream().filter(p -> p.level() == level).toList();
    add(
        "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"%s\"/>",
        colour,
        own.stream()
            .map(p -> number(beside(p, number)) + "," + number(up(p.queriesPerSecond().value())))
            .collect(Collectors.joining(" ")));
    for (Throughput.Point p : own) {
      Estimate rate = p.queriesPerSecond();
      double at = beside(p, number);
      line(at, up(rate.low()), at, up(rate.high()), colour);
      add(
          "<circle cx=\"%s\" cy=\"%s\" r=\"3.5\" fill=\"%s\"/>",
          number(at), number(up(rate.value())), colour);
    }
    int row = TOP + 14 + 20 * number;
    add("<circle cx=\"%d\" cy=\"%d\" r=\"3.5\" fill=\"%s\"/>", RIGHT + 20, row - 4, colour);
    text(RIGHT + 30, row, "start", Page.percent(level) + " solved");
  }

  private double across(double flops) {
    return LEFT + (RIGHT - LEFT) * (Math.log10(flops) - x[0]) / (x[1] - x[0]);
  }

  /** Levels of one budget stand side by side, so that none hides another. */
  private double beside(Throughput.Point p, int number) {
    return across(p.trainFlops()) + 4 * (number - (Throughput.LEVELS.length - 1) / 2.0);
  }

  private double up(double rate) {
    return rate == 0 ? ZERO : BOTTOM - (BOTTOM - TOP) * (Math.log10(rate) - y[0]) / (y[1] - y[0]);
  }

  private void line(double x1, double y1, double x2, double y2, String colour) {
    add(
        "<line x1=\"%s\" y1=\"%s\" x2=\"%s\" y2=\"%s\" stroke=\"%s\"/>",
        number(x1), number(y1), number(x2), number(y2), colour);
  }

  private void text(double x, double y, String anchor, String text) {
    add("<text x=\"%s\" y=\"%s\" text-anchor=\"%s\">%s</text>", number(x), number(y), anchor, text);
  }

  private void add(String format, Object... values) {
    svg.append(String.format(Locale.ROOT, format, values)).append('\n');
  }

  private static String number(double value) {
    return String.format(Locale.ROOT, "%.1f", value);
  }
}
