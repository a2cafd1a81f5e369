// SPDX-License-Identifier: Apache-2.0
package ponder;

import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR;
import static jcuda.driver.CUdevice_attribute.CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import jcuda.driver.CUdevice;
import jcuda.driver.CUresult;
import jcuda.driver.JCudaDriver;
import ponder.CudaDevices.CudaDevice;

/**
 * The driver's list of devices, through JCuda. Only this class and {@link CudaContext} name it, so
 * that without JCuda only they cannot be linked.
 */
final class CudaDriver {
  private CudaDriver() {}

  /**
   * Lists the devices.
   *
   * @throws LinkageError if JCuda, its library or the driver's is missing
   */
  static CudaDevices list() {
    int[] version = {0};
    try {
      requirePermission();
      require("cuDriverGetVersion", JCudaDriver.cuDriverGetVersion(version));
      require("cuInit", JCudaDriver.cuInit(0));
      int[] count = {0};
      require("cuDeviceGetCount", JCudaDriver.cuDeviceGetCount(count));
      if (count[0] == 0) {
        return CudaDevices.none(version[0], "the CUDA driver has no device");
      }
      List<CudaDevice> devices = new ArrayList<>();
      for (int i = 0; i < count[0]; i++) {
        devices.add(device(i));
      }
      return new CudaDevices(devices, version[0], "");
    } catch (IllegalStateException e) {
      return CudaDevices.none(version[0], e.getMessage());
    }
  }

  /** Without the permission the JVM would write a warning when JCuda loads its library. */
  static void requirePermission() {
    Module jcuda = CUresult.class.getModule();
    if (!jcuda.isNativeAccessEnabled()) {
      throw new IllegalStateException(
          "JCuda, which asks the driver, may not load its library; start Java with"
              + " --enable-native-access=ponder.engine,"
              + (jcuda.isNamed() ? jcuda.getName() : "ALL-UNNAMED"));
    }
  }

  /** Returns the driver's handle of a device. */
  static CUdevice handle(int index) {
    CUdevice device = new CUdevice();
    require("cuDeviceGet", JCudaDriver.cuDeviceGet(device, index));
    return device;
  }

  private static CudaDevice device(int index) {
    CUdevice device = handle(index);
    byte[] name = new byte[256];
    require("cuDeviceGetName", JCudaDriver.cuDeviceGetName(name, name.length, device));
    long[] bytes = {0};
    require("cuDeviceTotalMem", JCudaDriver.cuDeviceTotalMem(bytes, device));
    return new CudaDevice(
        index,
        text(name),
        attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR),
        attribute(device, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR),
        bytes[0],
        attribute(device, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT));
  }

  private static int attribute(CUdevice device, int attribute) {
    int[] value = {0};
    require("cuDeviceGetAttribute", JCudaDriver.cuDeviceGetAttribute(value, attribute, device));
    return value[0];
  }

  /** Returns the text before the first zero. */
  private static String text(byte[] bytes) {
    int length = 0;
    while (length < bytes.length && bytes[length] != 0) {
      length++;
    }
    return new String(bytes, 0, length, StandardCharsets.UTF_8).strip();
  }

  static void require(String call, int status) {
    if (status != CUresult.CUDA_SUCCESS) {
      throw new IllegalStateException(
          "the CUDA driver refuses " + call + ": " + CUresult.stringFor(status));
    }
  }
}
