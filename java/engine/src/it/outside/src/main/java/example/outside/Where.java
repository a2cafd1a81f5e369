// SPDX-License-Identifier: Apache-2.0
package example.outside;

import java.util.concurrent.Callable;
import ponder.Device;
import ponder.Libraries;
import ponder.LibraryNotFoundException;
import ponder.Scope;
import ponder.Shape;

/** Says which library computes here, after it has computed something. */
public final class Where implements Callable<String> {
  /** Prints the library's source and place, or why there is none. */
  public static void main(String[] words) {
    try {
      System.out.println(new Where().call());
    } catch (LibraryNotFoundException e) {
      System.out.println(e.getMessage());
      System.exit(1);
    }
  }

  @Override
  public String call() {
    try (Device device = Device.cpu(1);
        Scope scope = device.open()) {
      double six = scope.tensor(Shape.of(3), 1f, 2f, 3f).sum().item();
      Libraries.Candidate taken =
          Libraries.candidates().stream()
              .filter(Libraries.Candidate::taken)
              .findFirst()
              .orElseThrow();
      return "6 = " + six + " by " + taken.source() + ": " + taken.place();
    }
  }
}
