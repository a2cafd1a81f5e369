// SPDX-License-Identifier: Apache-2.0
package ponder;

import java.util.List;
import java.util.Optional;
import ponder.abi.Failures;
import ponder.abi.Library;
import ponder.abi.Processor;
import ponder.abi.Search;

/**
 * The native libraries on this machine. They are searched in this order: the system property
 * {@code ponder.library.path} (a file or a directory), the environment variable {@code
 * PONDER_LIBRARY_PATH}, the jar of natives (unpacked into {@code ponder.cache.dir}, by default
 * {@code ponder} in the user's cache directory), install prefixes. Of the builds in a place the
 * fastest is taken that the processor has every feature for; {@code ponder.library.build} asks for
 * one by name. Nothing is downloaded.
 */
public final class Libraries {
  /**
   * A library that was considered.
   *
   * @param source what named its place
   * @param place the file or the resource
   * @param build base, v3, v4 or cuda
   * @param taken whether it is the one in use
   * @param reason why it was taken or refused
   */
  public record Candidate(
      String source, String place, String build, boolean taken, String reason) {}

  static final Failures FAILURES =
      new Failures() {
        @Override
        public RuntimeException outOfMemory(String sentence) {
          return new DeviceOutOfMemoryException(sentence);
        }

        @Override
        public RuntimeException deviceFailed(String sentence) {
          return new DeviceFailedException(sentence);
        }
      };

  private Libraries() {}

  /** Returns the system and the processor's family, such as {@code linux-x86_64}. */
  public static String platform() {
    return Processor.here().platform();
  }

  /** Returns every library considered for this machine, in the order of the search. */
  public static List<Candidate> candidates() {
    return candidates(search());
  }

  /** Returns every CUDA library considered for this machine, in the order of the search. */
  public static List<Candidate> cudaCandidates() {
    return candidates(searchCuda());
  }

  /** Returns the CUDA library's name and toolkit, such as {@code cuda 13.0}, if there is one. */
  public static Optional<String> cudaBuild() {
    return Optional.ofNullable(searchCuda().library()).map(Library::build);
  }

  private static List<Candidate> candidates(Search search) {
    return search.candidates().stream()
        .map(c -> new Candidate(c.source(), c.place(), c.build(), c.taken(), c.reason()))
        .toList();
  }

  private static Search search() {
    return new Search(Search.Settings.ofProcess(), Processor.here(), FAILURES);
  }

  private static Search searchCuda() {
    return new Search(
        Search.Settings.ofProcess(), Processor.here(), List.of(Search.CUDA), FAILURES);
  }

  static Device openCuda(int index, long memoryLimit) {
    Search search = searchCuda();
    if (search.library() == null) {
      throw new LibraryNotFoundException(search.failure());
    }
    return openCuda(search.library(), index, memoryLimit, false);
  }

  static Device open(int threads, long memoryLimit) {
    Search search = search();
    if (search.library() == null) {
      throw new LibraryNotFoundException(search.failure());
    }
    return open(search.library(), 0, threads, memoryLimit, false);
  }

  /** Opens a device over one library, which tests choose. */
  static Device open(Library library, int index, int threads, long memoryLimit, boolean poison) {
    return device(library, library.open(index, threads, memoryLimit), poison, -1);
  }

  /** Opens a CUDA device over one library, which tests choose. */
  static Device openCuda(Library library, int index, long memoryLimit, boolean poison) {
    return device(library, library.open(index, 1, memoryLimit), poison, index);
  }

  private static Device device(
      Library library, Library.Context context, boolean poison, int cudaIndex) {
    return new Device(context.kernels(), library.build(), context::close, poison, cudaIndex);
  }
}
