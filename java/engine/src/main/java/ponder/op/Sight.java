// SPDX-License-Identifier: Apache-2.0
package ponder.op;

import java.util.Arrays;
import ponder.Shape;
import ponder.Tensor;

/** Which keys the queries of a call of attention see: each a run of its sequence's keys. */
final class Sight {
  private final Attention op;
  private final int batch;
  private final int heads;
  private final int queries;
  private final int keys;
  private final int[] lengths;
  private final int[] qStarts;
  private final int[] kStarts;

  /**
   * A sequence and its place in the arrays. Its queries and keys count from its first.
   *
   * @param behind query i sees the keys from i + behind on
   * @param ahead that lie before i + ahead
   * @param length how many of its keys count
   */
  private record Sequence(
      int row, int firstQuery, int firstKey, int queries, long behind, long ahead, int length) {
    int first(int query) {
      return (int) Math.clamp(query + behind, 0L, length);
    }

    int last(int query) {
      return Math.max(first(query), (int) Math.clamp(query + ahead, 0L, length));
    }
  }

  /**
   * What a call visits.
   *
   * @param pairs pairs of a query and a key it sees, all heads together
   * @param keys keys that some query sees, of all sequences
   * @param stored keys there are
   */
  record Visits(long pairs, long keys, long stored) {
    /** Returns the bytes of the keys seen, in k or v. */
    long bytesOf(Tensor k) {
      return k.bytes() / stored * keys;
    }
  }

  Sight(Attention op, Tensor... in) {
    Shape q = in[0].shape();
    this.op = op;
    batch = Math.toIntExact(q.dim(0));
    heads = Math.toIntExact(q.dim(2));
    queries = Math.toIntExact(q.dim(1));
    keys = Math.toIntExact(in[1].shape().dim(1));
    lengths = op.padded() ? op.lengths(in).toInts() : null;
    qStarts = op.packed() ? op.qStarts(in).toInts() : null;
    kStarts = op.packed() ? op.kStarts(in).toInts() : null;
  }

  private int sequences() {
    return qStarts == null ? batch : qStarts.length - 1;
  }

  private Sequence sequence(int n) {
    boolean packed = qStarts != null;
    int firstQuery = packed ? qStarts[n] : 0;
    int firstKey = packed ? kStarts[n] : 0;
    int count = packed ? qStarts[n + 1] - firstQuery : queries;
    int stored = packed ? kStarts[n + 1] - firstKey : keys;
    int length = lengths == null ? stored : lengths[n];
    // Where the first query stands among the keys.
    long stands = (op.order() == Attention.Order.CAUSAL_AT_LENGTH ? length : stored) - count;
    long window = op.window();
    long behind = window == 0 ? -count : stands - window + 1;
    long ahead =
        op.order() != Attention.Order.FULL ? stands + 1 : window == 0 ? length : stands + window;
    return new Sequence(packed ? 0 : n, firstQuery, firstKey, count, behind, ahead, length);
  }

  /** Returns what is visited. */
  Visits visits() {
    // Without lengths and starts all sequences are alike.
    boolean alike = lengths == null && qStarts == null;
    long pairs = 0;
    long seen = 0;
    for (int n = 0; n < (alike ? 1 : sequences()); n++) {
      Sequence s = sequence(n);
      int from = s.length;
      int to = 0;
      for (int i = 0; i < s.queries; i++) {
        int first = s.first(i);
        int last = s.last(i);
        pairs += last - first;
        if (first < last) {
          from = Math.min(from, first);
          to = last;
        }
      }
      // Runs move on with their query and leave no gap.
      seen += Math.max(0, to - from);
    }
    int times = alike ? batch : 1;
    return new Visits(pairs * times * heads, seen * times, (long) batch * keys);
  }

  /** Returns [batch, 1, q_steps, k_steps]: 0 where a key is visible, -infinity elsewhere. */
  Tensor visibility(Tensor like) {
    var values = new double[Math.multiplyExact(Math.multiplyExact(batch, queries), keys)];
    Arrays.fill(values, Double.NEGATIVE_INFINITY);
    for (int n = 0; n < sequences(); n++) {
      Sequence s = sequence(n);
      for (int i = 0; i < s.queries; i++) {
        int from = (s.row * queries + s.firstQuery + i) * keys + s.firstKey;
        Arrays.fill(values, from + s.first(i), from + s.last(i), 0);
      }
    }
    return Constant.of(like, Shape.of(batch, 1, queries, keys), values);
  }
}
