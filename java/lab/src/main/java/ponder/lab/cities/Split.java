// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import java.util.BitSet;
import java.util.List;
import java.util.Set;
import ponder.Key;

/**
 * Which ordered pairs of places a model learns from and which it is asked.
 *
 * <p>The part of a pair is a function of its two places (and the steps between them), so no list of
 * pairs is kept and the same key gives the same sets for ever.
 */
public sealed interface Split {
  /** The names that {@link #named} knows. */
  List<String> NAMES = List.of("ordered", "clean", "unseen-target", "unseen-region", "longer-path");

  /** What a pair is for. */
  enum Part {
    /** Learnt from. */
    TRAIN,
    /** Used to choose between models. */
    VALIDATION,
    /** Asked once, at the end. */
    TEST
  }

  /**
   * The shares held out.
   *
   * @param validation at least 0
   * @param test at least 0; together below 1
   */
  record Shares(double validation, double test) {
    /** 5 % to choose with and 10 % to test on. */
    public static final Shares USUAL = new Shares(0.05, 0.10);

    /**
     * @throws IllegalArgumentException if a share is negative or nothing is left to learn from
     */
    public Shares {
      if (!(validation >= 0 && test >= 0 && validation + test < 1)) {
        throw new IllegalArgumentException(
            "shares are "
                + validation
                + " and "
                + test
                + "; they must be 0 or more, below 1 in sum");
      }
    }

    private Part part(double uniform) {
      return uniform < test
          ? Part.TEST
          : uniform < test + validation ? Part.VALIDATION : Part.TRAIN;
    }
  }

  /**
   * Returns the part of a pair.
   *
   * @param hops the number of steps on its shortest path, at least 1
   */
  Part part(int source, int target, int hops);

  /** Returns the name of the kind, one of {@link #NAMES}. */
  String name();

  /**
   * Ordered pairs held out at random. Mostly the way back is learnt from, and a longer path that
   * runs through both places in the same order may be.
   */
  record Ordered(Key key, Shares shares) implements Split {
    @Override
    public Part part(int source, int target, int hops) {
      return shares.part(uniform(key, source, target));
    }

    @Override
    public String name() {
      return "ordered";
    }
  }

  /**
   * Pairs held out in both directions at random. Longer paths may still run through both places:
   * {@link Containment} counts them.
   */
  record Clean(Key key, Shares shares) implements Split {
    @Override
    public Part part(int source, int target, int hops) {
      return shares.part(uniform(key, Math.min(source, target), Math.max(source, target)));
    }

    @Override
    public String name() {
      return "clean";
    }
  }

  /**
   * Targets held out: no path that is learnt from ends there, though it may start there or pass
   * through.
   */
  record UnseenTarget(Key key, Shares shares) implements Split {
    @Override
    public Part part(int source, int target, int hops) {
      return shares.part(uniform(key, target, target));
    }

    @Override
    public String name() {
      return "unseen-target";
    }
  }

  /**
   * A region held out: the pairs with an end in it are the test, so that no path that is learnt
   * from starts or ends there, though it may pass through. Of the others the validation share is
   * held out at random.
   *
   * @param region the nodes in the region
   */
  record UnseenRegion(Key key, Shares shares, BitSet region) implements Split {
    public UnseenRegion {
      region = (BitSet) region.clone();
    }

    @Override
    public BitSet region() {
      return (BitSet) region.clone();
    }

    @Override
    public Part part(int source, int target, int hops) {
      if (region.get(source) || region.get(target)) {
        return Part.TEST;
      }
      double uniform = uniform(key, source, target);
      return uniform < shares.validation ? Part.VALIDATION : Part.TRAIN;
    }

    @Override
    public String name() {
      return "unseen-region";
    }
  }

  /**
   * Longer paths held out: those with more steps than any that is learnt from are the test. Of the
   * others the validation share is held out at random.
   *
   * @param hops the most steps on a path that is learnt from
   */
  record LongerPath(Key key, Shares shares, int hops) implements Split {
    @Override
    public Part part(int source, int target, int hops) {
      if (hops > this.hops) {
        return Part.TEST;
      }
      double uniform = uniform(key, source, target);
      return uniform < shares.validation ? Part.VALIDATION : Part.TRAIN;
    }

    @Override
    public String name() {
      return "longer-path";
    }
  }

  /**
   * Returns a split of a table's pairs by its name, with what it holds out chosen as follows. The
   * region is Indiana, Michigan and Ohio. The longest paths that are learnt from have as many steps
   * as leave at least the test share of all paths longer, or one fewer than the longest of all.
   *
   * @throws IllegalArgumentException if there is no such name, or nothing to hold out
   */
  static Split named(String name, PathTable table, Key key, Shares shares) {
    Key own = key.split(name);
    return switch (name) {
      case "ordered" -> new Ordered(own, shares);
      case "clean" -> new Clean(own, shares);
      case "unseen-target" -> new UnseenTarget(own, shares);
      case "unseen-region" ->
          new UnseenRegion(own, shares, region(table.graph(), Set.of("IN", "MI", "OH")));
      case "longer-path" -> new LongerPath(own, shares, table.hopsBelow(1 - shares.test));
      default -> throw unknown(name);
    };
  }

  /**
   * Returns in a sentence what the split that {@link #named} gives holds out.
   *
   * @throws IllegalArgumentException if there is no such name
   */
  static String meaning(String name) {
    return switch (name) {
      case "ordered" ->
          "Pairs of places are held out at random, each direction by itself: of a path that is"
              + " asked for, the way back was mostly learnt from.";
      case "clean" ->
          "Pairs of places are held out at random in both directions: of a path that is asked for,"
              + " neither the way there nor the way back was learnt from, but longer paths through"
              + " both places may have been.";
      case "unseen-target" ->
          "Targets are held out: no path that was learnt from ends at one that is asked for, though"
              + " it may start there or pass through.";
      case "unseen-region" ->
          "A region is held out, Indiana, Michigan and Ohio: every path that is asked for starts or"
              + " ends there, and none that was learnt from does, though it may pass through.";
      case "longer-path" ->
          "Long paths are held out: every path that is asked for has more steps than any that was"
              + " learnt from.";
      default -> throw unknown(name);
    };
  }

  private static IllegalArgumentException unknown(String name) {
    return new IllegalArgumentException(
        "there is no split \"" + name + "\"; the splits are " + String.join(", ", NAMES));
  }

  /**
   * Returns the nodes that lie in some states.
   *
   * @throws IllegalArgumentException if there are none
   */
  static BitSet region(CityGraph graph, Set<String> states) {
    BitSet region = new BitSet();
    for (int i = 0; i < graph.size(); i++) {
      region.set(i, states.contains(graph.cities().get(i).state()));
    }
    return requireSome(region, "the states " + states);
  }

  /**
   * Returns the nodes that lie in a box of degrees, its borders included.
   *
   * @throws IllegalArgumentException if there are none
   */
  static BitSet region(CityGraph graph, double south, double west, double north, double east) {
    BitSet region = new BitSet();
    for (int i = 0; i < graph.size(); i++) {
      City city = graph.cities().get(i);
      region.set(
          i,
          city.latitude() >= south
              && city.latitude() <= north
              && city.longitude() >= west
              && city.longitude() <= east);
    }
    return requireSome(
        region, "the box from " + south + ", " + west + " to " + north + ", " + east);
  }

  private static BitSet requireSome(BitSet region, String where) {
    if (region.isEmpty()) {
      throw new IllegalArgumentException("no city of the graph lies in " + where);
    }
    return region;
  }

  /** Returns a number in [0, 1) that belongs to a pair, a multiple of 2^-53. */
  private static double uniform(Key key, int a, int b) {
    return (key.split((long) a << 32 | b).value() >>> 11) * 0x1p-53;
  }
}
