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

}  // namespace
