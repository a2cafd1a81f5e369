// SPDX-License-Identifier: Apache-2.0
package ponder.lab.cities;

import ponder.Key;

/**
 * The shortest paths of one part of a split, one after another, in arrays that are written over.
 *
 * <p>A pass gives each path once, in an order fixed by the key and the number of the pass; the
 * next pass gives them in another order. The state is two numbers, so a run that was stopped goes
 * on where it was: {@link #pass}, {@link #position} and {@link #seek}.
 */
public final class PathStream {
  private final PathTable table;
  private final Split split;
  private final Split.Part part;
  private final Key key;
  private final int[] nodes;
  private Shuffle order;
  private long pass;
  private long position;
  private int source;
  private int target;
  private int count;

  /** Opens the stream at the beginning of pass 0. */
  public PathStream(PathTable table, Split split, Split.Part part, Key key) {
    this.table = table;
    this.split = split;
    this.part = part;
    this.key = key.split(part.name());
    nodes = new int[table.longest() + 1];
    seek(0, 0);
  }

  /** Returns the number of the pass, from 0. */
  public long pass() {
    return pass;
  }

  /** Returns how many pairs of the pass have been looked at, taken or not. */
  public long position() {
    return position;
  }

  /**
   * Goes to where {@link #pass} and {@link #position} had these values.
   *
   * @throws IllegalArgumentException if there is no such place
   */
  public void seek(long pass, long position) {
    long size = (long) table.sources() * table.graph().size();
    if (pass < 0 || position < 0 || position > size) {
      throw new IllegalArgumentException(
          "pass " + pass + ", position " + position + " is outside passes of " + size + " pairs");
    }
    this.pass = pass;
    this.position = position;
    order = new Shuffle(size, key.split(pass));
  }

  /** Goes on to the next path; false at the end of the pass. */
  public boolean next() {
    int cities = table.graph().size();
    while (position < order.size()) {
      long pair = order.at(position++);
      source = table.source((int) (pair / cities));
      target = (int) (pair % cities);
      if (source != target
          && table.isConnected(source, target)
          && split.part(source, target, table.hops(source, target)) == part) {
        count = table.path(source, target, nodes);
        return true;
      }
    }
    count = 0;
    return false;
  }

  /**
   * Goes on to the next path, into the next pass where this one ends.
   *
   * @throws IllegalStateException if the part has no path
   */
  public void advance() {
    if (!next()) {
      seek(pass + 1, 0);
      if (!next()) {
        throw new IllegalStateException(
            "the " + part + " part of the split " + split.name() + " has no path");
      }
    }
  }

  /** Returns where the path starts. */
  public int source() {
    return source;
  }

  /** Returns where the path ends. */
  public int target() {
    return target;
  }

  /** Returns the places of the path, both ends included; the array is written over by the next. */
  public int[] nodes() {
    return nodes;
  }

  /** Returns how many places the path has, one more than its steps. */
  public int count() {
    return count;
  }

  /** Returns the length of the path in kilometres. */
  public double kilometres() {
    return table.kilometres(source, target);
  }

  /** Returns whether another path is as short. */
  public boolean isTied() {
    return table.isTied(source, target);
  }

  /** Returns the hash of every path of pass 0, in its order: the set's name for ever. */
  public static String fingerprint(PathTable table, Split split, Split.Part part, Key key) {
    PathStream stream = new PathStream(table, split, part, key);
    Fingerprint hash = new Fingerprint();
    while (stream.next()) {
      hash.add(stream.count);
      for (int i = 0; i < stream.count; i++) {
        hash.add(stream.nodes[i]);
      }
    }
    return hash.text();
  }
}
