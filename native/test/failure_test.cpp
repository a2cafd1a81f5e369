// SPDX-License-Identifier: Apache-2.0
// A device that fails: the call says so, every later one is refused, and closing still works.
#include <gtest/gtest.h>

#include <cstdlib>
#include <string>

#include "machines.h"

namespace {

TEST(Failure, endsWithTheContext) {
  if (!is_simulated()) GTEST_SKIP() << "only a simulated device fails when it is asked to";
  setenv("PONDER_SIMULATOR_FAILS", "2", 1);
  Machine m{"failing", nullptr};
  ASSERT_EQ(PND_OK, pnd_open(&m.context, 0, 1, 0));
  unsetenv("PONDER_SIMULATOR_FAILS");
  void *memory = nullptr;
  ASSERT_EQ(PND_OK, pnd_allocate(m.context, &memory, 64));
  float *y = static_cast<float *>(memory);
  EXPECT_EQ(PND_OK, pnd_fill(m.context, PND_F32, y, 16, 1));
  EXPECT_EQ(PND_DEVICE_FAILED, pnd_fill(m.context, PND_F32, y, 16, 2));
  EXPECT_EQ("fill: the device failed: a failure that was asked for", message_of(m));

  void *more = nullptr;
  float host[16];
  const std::string later = ": an earlier call failed on the device: open another context";
  EXPECT_EQ(PND_DEVICE_FAILED, pnd_fill(m.context, PND_F32, y, 16, 1));
  EXPECT_EQ("fill" + later, message_of(m));
  EXPECT_EQ(PND_DEVICE_FAILED, pnd_download(m.context, host, y, 64));
  EXPECT_EQ("download" + later, message_of(m));
  EXPECT_EQ(PND_DEVICE_FAILED, pnd_allocate(m.context, &more, 64));
  EXPECT_EQ(PND_DEVICE_FAILED, pnd_release(m.context, memory));
  EXPECT_EQ(PND_DEVICE_FAILED, pnd_synchronize(m.context));
  EXPECT_EQ(PND_DEVICE_FAILED, pnd_record(m.context));
  EXPECT_EQ(PND_OK, pnd_close(m.context));

  ASSERT_EQ(PND_OK, pnd_open(&m.context, 0, 1, 0));
  ASSERT_EQ(PND_OK, pnd_allocate(m.context, &memory, 64));
  y = static_cast<float *>(memory);
  EXPECT_EQ(PND_OK, pnd_fill(m.context, PND_F32, y, 16, 3));
  EXPECT_EQ(PND_OK, pnd_download(m.context, host, y, 64));
  EXPECT_EQ(3, host[15]);
  EXPECT_EQ(PND_OK, pnd_close(m.context));
}

// A call without room says what it asked for and what there is, and the next one is served.
TEST(Failure, ofRoomLeavesTheDeviceUsable) {
  if (!is_simulated()) GTEST_SKIP() << "only a simulated device has as little memory as it is told";
  setenv("PONDER_SIMULATOR_MEMORY", "400000", 1);
  Machine m{"small", nullptr};
  ASSERT_EQ(PND_OK, pnd_open(&m.context, 0, 1, 1 << 20));
  void *table = nullptr, *index = nullptr, *more = nullptr;
  ASSERT_EQ(PND_OK, pnd_allocate(m.context, &table, 4 * 16));
  ASSERT_EQ(PND_OK, pnd_allocate(m.context, &index, 4 * 60000)) << message_of(m);
  EXPECT_EQ(PND_OUT_OF_MEMORY, pnd_allocate(m.context, &more, 500000));
  EXPECT_EQ(0u, message_of(m).find("allocate: 500000 bytes asked, 240064 of 1048576 in use, 1"))
      << message_of(m);
  EXPECT_NE(std::string::npos, message_of(m).find(" free on the device: the device has no more"));
  EXPECT_EQ(PND_OUT_OF_MEMORY, pnd_allocate(m.context, &more, 900000));
  EXPECT_NE(std::string::npos, message_of(m).find(" free on the device: beyond the limit"));

  // The indices are sorted in scratch memory.
  ASSERT_EQ(PND_OK, pnd_fill(m.context, PND_I32, index, 60000, 3));
  EXPECT_EQ(PND_OUT_OF_MEMORY, pnd_scatter_add(m.context, PND_F32, table, index,
                                               static_cast<int32_t *>(index), 60000, 16, 1))
      << message_of(m);
  EXPECT_NE(std::string::npos, message_of(m).find("bytes of scratch memory asked, 240064 of"))
      << message_of(m);
  unsetenv("PONDER_SIMULATOR_MEMORY");
  EXPECT_EQ(PND_OK, pnd_fill(m.context, PND_F32, table, 16, 1)) << message_of(m);
  EXPECT_EQ(PND_OK, pnd_close(m.context));
}

}  // namespace
