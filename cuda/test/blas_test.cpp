// SPDX-License-Identifier: Apache-2.0
// Large products by cuBLASLt, on the simulated device and a stand-in for the library: what it is
// asked, and what becomes of a product that it does not take.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "ponder.h"

namespace {

class Blas : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(PND_OK, pnd_open(&context_, 0, 1, 64 << 20));
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    ASSERT_NE(nullptr, library) << dlerror();
    ask_ = reinterpret_cast<int (*)(int)>(dlsym(library, "stand_in"));
    ASSERT_NE(nullptr, ask_) << "this is not the stand-in";
    before_ = ask_(1);
  }
  void TearDown() override {
    EXPECT_EQ(PND_OK, pnd_close(context_));
    EXPECT_EQ(0, ask_(0)) << "a handle is left open";
    EXPECT_EQ(0, ask_(2)) << "descriptors are left";
  }

  int products() const { return ask_(1) - before_; }
  std::string message() {
    char text[512] = "";
    pnd_message(context_, text, sizeof text);
    return text;
  }
  void *device(int64_t bytes) {
    void *memory = nullptr;
    EXPECT_EQ(PND_OK, pnd_allocate(context_, &memory, bytes)) << message();
    return memory;
  }

  // A product of small whole numbers, exact in every type, and its status. `off`: bytes that y lies
  // beyond an aligned address.
  int32_t multiply(int32_t dtype, int64_t batch, int64_t rows, int64_t cols, int64_t inner,
                   int a_transposed, int b_transposed, int64_t off = 0) {
    const int64_t a_size = batch * rows * inner, b_size = batch * inner * cols;
    const int64_t y_size = batch * rows * cols;
    const auto numbers = [](int64_t n, int64_t period) {
      std::vector<double> x(n);
      for (int64_t i = 0; i < n; ++i) x[i] = static_cast<double>(i * 5 % period - 2);
      return x;
    };
    const auto a = numbers(a_size, 5), b = numbers(b_size, 4);
    const auto send = [&](const std::vector<double> &x) {
      const auto n = static_cast<int64_t>(x.size());
      void *wide = device(8 * n), *to = device(8 * n);
      EXPECT_EQ(PND_OK, pnd_upload(context_, wide, x.data(), 8 * n));
      EXPECT_EQ(PND_OK, pnd_cast(context_, dtype, to, wide, n, PND_F64)) << message();
      return to;
    };
    void *const y = static_cast<char *>(device(8 * y_size + off)) + off, *const wide =
                                                                             device(8 * y_size);
    const int32_t status = pnd_matmul(context_, dtype, y, send(a), send(b), batch, rows, cols,
                                      inner, a_transposed, b_transposed);
    if (status != PND_OK) return status;
    std::vector<double> got(y_size);
    EXPECT_EQ(PND_OK, pnd_cast(context_, PND_F64, wide, y, y_size, dtype)) << message();
    EXPECT_EQ(PND_OK, pnd_download(context_, got.data(), wide, 8 * y_size)) << message();
    for (int64_t i = 0; i < y_size; ++i) {
      const int64_t g = i / (rows * cols), r = i / cols % rows, c = i % cols;
      double sum = 0;
      for (int64_t k = 0; k < inner; ++k) {
        sum += a[g * rows * inner + (a_transposed ? k * rows + r : r * inner + k)] *
               b[g * inner * cols + (b_transposed ? c * inner + k : k * cols + c)];
      }
      if (got[i] != sum) {
        ADD_FAILURE() << "at " << i << ": " << got[i] << " for " << sum;
        break;
      }
    }
    return status;
  }

  pnd_context *context_ = nullptr;
  int (*ask_)(int) = nullptr;
  int before_ = 0;
};

TEST_F(Blas, isAskedForEveryTypeTransposeAndBatch) {
  int asked = 0;
  for (int32_t dtype : {PND_F32, PND_F64, PND_BF16}) {
    for (int turn = 0; turn < 4; ++turn) {
      for (int64_t batch : {1, 3}) {
        EXPECT_EQ(PND_OK, multiply(dtype, batch, 5, 9, 6, turn & 1, turn >> 1)) << message();
        ++asked;
      }
    }
  }
  EXPECT_EQ(asked, products());
}

TEST_F(Blas, whatItDoesNotTakeIsComputedWithoutIt) {
  EXPECT_EQ(PND_OK, multiply(PND_F32, 2, 5, 9, 7, 0, 1)) << message();
  // Refused when run: asked once and not again.
  EXPECT_EQ(PND_OK, multiply(PND_F32, 2, 5, 9, 11, 0, 1)) << message();
  EXPECT_EQ(PND_OK, multiply(PND_F32, 2, 5, 9, 11, 0, 1)) << message();
  // Not aligned to 16 bytes.
  EXPECT_EQ(PND_OK, multiply(PND_F32, 1, 5, 9, 6, 0, 0, 8)) << message();
  EXPECT_EQ(0, products());
}

TEST_F(Blas, aFailureOfTheDeviceIsOne) {
  EXPECT_EQ(PND_DEVICE_FAILED, multiply(PND_F32, 1, 5, 9, 13, 0, 0));
  EXPECT_EQ("matmul: the device failed: cuBLASLt could not run the product", message());
  EXPECT_EQ(PND_DEVICE_FAILED, pnd_synchronize(context_));
}

TEST_F(Blas, itsWorkspaceCountsAsScratchMemory) {
  int64_t used = 0, now = 0, peak = 0, limit = 0;
  ASSERT_EQ(PND_OK, multiply(PND_F32, 1, 4, 4, 4, 0, 0)) << message();
  ASSERT_EQ(PND_OK, pnd_memory(context_, &used, &peak, &limit));
  ASSERT_EQ(PND_OK, multiply(PND_F32, 1, 4, 4, 4, 0, 0)) << message();
  ASSERT_EQ(PND_OK, pnd_memory(context_, &now, &peak, &limit));
  // Six arrays of 16 doubles were allocated in between, and no scratch.
  EXPECT_EQ(used + 6 * 128, now);
  EXPECT_GE(used, 4096 + 6 * 128);
}

}  // namespace
