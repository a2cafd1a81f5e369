// SPDX-License-Identifier: Apache-2.0
package ponder;

import static ponder.CudaDriver.require;

import java.lang.foreign.MemorySegment;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.function.Supplier;
import jcuda.Pointer;
import jcuda.driver.CUcontext;
import jcuda.driver.CUdevice;
import jcuda.driver.CUevent;
import jcuda.driver.CUevent_flags;
import jcuda.driver.CUstream;
import jcuda.driver.JCudaDriver;

/**
 * A device's primary context, the one that the CUDA library works in, through JCuda. Every method
 * throws {@link IllegalStateException} with the driver's answer if it refuses, and a {@link
 * LinkageError} where JCuda, its library or the driver's is missing.
 */
final class CudaContext implements AutoCloseable {
  private final CUdevice device;
  private final CUcontext context = new CUcontext();

  CudaContext(int index) {
    CudaDriver.requirePermission();
    require("cuInit", JCudaDriver.cuInit(0));
    device = CudaDriver.handle(index);
    require("cuDevicePrimaryCtxRetain", JCudaDriver.cuDevicePrimaryCtxRetain(context, device));
  }

  /** Returns how many bytes of the device's memory no process uses. */
  long freeBytes() {
    long[] free = {0};
    long[] total = {0};
    inside(() -> JCudaDriver.cuMemGetInfo(free, total), "cuMemGetInfo");
    return free[0];
  }

  /** Memory of this machine that the device reads and writes without a copy in between. */
  record Pinned(Pointer pointer, MemorySegment memory) {}

  Pinned pin(long bytes) {
    Pointer pointer = new Pointer();
    inside(() -> JCudaDriver.cuMemHostAlloc(pointer, bytes, 0), "cuMemHostAlloc");
    return new Pinned(pointer, MemorySegment.ofBuffer(pointer.getByteBuffer(0, bytes)));
  }

  void unpin(Pinned pinned) {
    inside(() -> JCudaDriver.cuMemFreeHost(pinned.pointer), "cuMemFreeHost");
  }

  /** Two moments in a stream, by the device's clock. */
  final class Events {
    private final CUstream stream;
    private final CUevent start = event();
    private final CUevent stop = event();

    /**
     * Makes the events.
     *
     * @param stream the address of a stream of this context
     */
    Events(long stream) {
      this.stream = stream(stream);
    }

    void start() {
      inside(() -> JCudaDriver.cuEventRecord(start, stream), "cuEventRecord");
    }

    void stop() {
      inside(() -> JCudaDriver.cuEventRecord(stop, stream), "cuEventRecord");
    }

    /** Waits for the second moment and returns the time from the first. */
    double milliseconds() {
      float[] between = {0};
      inside(() -> JCudaDriver.cuEventSynchronize(stop), "cuEventSynchronize");
      inside(() -> JCudaDriver.cuEventElapsedTime(between, start, stop), "cuEventElapsedTime");
      return between[0];
    }

    void destroy() {
      inside(() -> JCudaDriver.cuEventDestroy(start), "cuEventDestroy");
      inside(() -> JCudaDriver.cuEventDestroy(stop), "cuEventDestroy");
    }
  }

  private CUevent event() {
    CUevent event = new CUevent();
    inside(() -> JCudaDriver.cuEventCreate(event, CUevent_flags.CU_EVENT_DEFAULT), "cuEventCreate");
    return event;
  }

  /** JCuda's own streams apart, it has no public way to name one. */
  private static CUstream stream(long address) {
    try {
      return (CUstream)
          MethodHandles.privateLookupIn(CUstream.class, MethodHandles.lookup())
              .findConstructor(CUstream.class, MethodType.methodType(void.class, long.class))
              .invokeExact(address);
    } catch (RuntimeException | Error e) {
      throw e;
    } catch (Throwable e) {
      throw new IllegalStateException("JCuda cannot take the library's stream", e);
    }
  }

  /** Runs a call with this context current, and leaves the thread's own as it was. */
  private void inside(Supplier<Integer> call, String name) {
    require("cuCtxPushCurrent", JCudaDriver.cuCtxPushCurrent(context));
    try {
      require(name, call.get());
    } finally {
      JCudaDriver.cuCtxPopCurrent(new CUcontext());
    }
  }

  @Override
  public void close() {
    JCudaDriver.cuDevicePrimaryCtxRelease(device);
  }
}
