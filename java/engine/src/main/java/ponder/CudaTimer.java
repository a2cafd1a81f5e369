// SPDX-License-Identifier: Apache-2.0
package ponder;

import static java.lang.foreign.ValueLayout.ADDRESS;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Times what a CUDA device does by its own clock, through JCuda: two events in the stream of the
 * device's calls. The host does not wait for either, so that what is timed is not disturbed.
 *
 * <pre>{@code
 * try (CudaTimer timer = CudaTimer.of(device)) {
 *   timer.start();
 *   ...
 *   timer.stop();
 *   double seconds = timer.seconds();
 * }
 * }</pre>
 *
 * <p>All methods throw {@link DeviceFailedException} once the device has failed. Close it before its
 * device.
 */
public final class CudaTimer implements AutoCloseable {
  private final Device device;
  private final CudaContext context;
  private final CudaContext.Events events;
  private boolean started;
  private boolean stopped;
  private boolean open = true;

  private CudaTimer(Device device, CudaContext context, CudaContext.Events events) {
    this.device = device;
    this.context = context;
    this.events = events;
  }

  /**
   * Makes a timer.
   *
   * @throws UnsupportedOperationException saying why, if the device is none of CUDA's, or JCuda is
   *     not there
   */
  public static CudaTimer of(Device device) {
    device.requireThread("timer");
    if (device.cudaIndex < 0) {
      throw new UnsupportedOperationException("timer: " + device + " is no CUDA device");
    }
    CudaContext context = null;
    try (Arena cells = Arena.ofConfined()) {
      MemorySegment stream = cells.allocate(ADDRESS);
      device.kernels.stream(stream);
      context = new CudaContext(device.cudaIndex);
      return new CudaTimer(device, context, context.new Events(stream.get(ADDRESS, 0).address()));
    } catch (LinkageError e) {
      throw new UnsupportedOperationException("timer: " + CudaDevices.why(e), e);
    } catch (IllegalStateException e) {
      if (context != null) {
        context.close();
      }
      throw new UnsupportedOperationException("timer: " + e.getMessage(), e);
    }
  }

  /** Begins here: after all that was asked of the device so far. */
  public void start() {
    requireOpen();
    asked(events::start);
    started = true;
    stopped = false;
  }

  /** Ends here: after all that was asked of the device so far. */
  public void stop() {
    requireOpen();
    if (!started) {
      throw new IllegalStateException("timer: it has not been started");
    }
    asked(events::stop);
    stopped = true;
  }

  /** Waits until the device has passed the end, and returns the seconds from the beginning. */
  public double seconds() {
    requireOpen();
    if (!stopped) {
      throw new IllegalStateException("timer: it has not been stopped");
    }
    double[] milliseconds = {0};
    asked(() -> milliseconds[0] = events.milliseconds());
    return milliseconds[0] * 1e-3;
  }

  /** A driver refuses nothing of this but on a device that failed. */
  private static void asked(Runnable call) {
    try {
      call.run();
    } catch (IllegalStateException e) {
      throw new DeviceFailedException("timer: " + e.getMessage(), e);
    }
  }

  private void requireOpen() {
    device.requireThread("timer");
    if (!open) {
      throw new IllegalStateException("timer: it is closed");
    }
  }

  /** Gives the events back. A second call has no effect. */
  @Override
  public void close() {
    if (open) {
      open = false;
      try {
        events.destroy();
      } catch (IllegalStateException e) {
        // A failed device takes nothing back; its process does.
      } finally {
        context.close();
      }
    }
  }
}
