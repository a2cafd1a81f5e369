// SPDX-License-Identifier: Apache-2.0
package ponder.bench;

import java.util.SplittableRandom;
import ponder.cases.Array;
import ponder.cases.Call;
import ponder.cases.Type;

/**
 * The matrix product of a call, by its formula. A product has no definition in smaller ops, and all
 * of a large one by plain loops takes longer than its timing: numbers of it are drawn.
 */
final class Product {
  private static final int DRAWN = 2000;

  private final Call call;
  private final int rows;
  private final int cols;
  private final int inner;
  private final boolean aTransposed;
  private final boolean bTransposed;

  Product(Call call) {
    this.call = call;
    this.rows = (int) call.number("rows");
    this.cols = (int) call.number("cols");
    this.inner = (int) call.number("inner");
    this.aTransposed = call.number("a_transposed") != 0;
    this.bTransposed = call.number("b_transposed") != 0;
    if (call.number("batch") != 1) throw new IllegalArgumentException(call + " has a batch");
  }

  int rows() {
    return rows;
  }

  int cols() {
    return cols;
  }

  int inner() {
    return inner;
  }

  boolean aTransposed() {
    return aTransposed;
  }

  boolean bTransposed() {
    return bTransposed;
  }

  /** Refuses a product [rows, cols] that is farther off than twice the plain loop in its type. */
  void check(double[] y) {
    Array a = call.array("a");
    Array b = call.array("b");
    var random = new SplittableRandom(1);
    double[] got = new double[DRAWN];
    double[] answer = new double[DRAWN];
    double[] plain = new double[DRAWN];
    for (int i = 0; i < DRAWN; i++) {
      int row = random.nextInt(rows);
      int col = random.nextInt(cols);
      got[i] = y[row * cols + col];
      double sum = 0;
      float narrow = 0;
      for (int k = 0; k < inner; k++) {
        double x = a.get(aTransposed ? k * rows + row : row * inner + k);
        double z = b.get(bTransposed ? col * inner + k : k * cols + col);
        sum += x * z;
        narrow += (float) x * (float) z;
      }
      answer[i] = sum;
      plain[i] = call.type() == Type.F64 ? sum : call.type().round(narrow);
    }
    Gate.near("product", call.type(), 2, got, answer, plain, answer);
  }
}
