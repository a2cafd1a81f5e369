// SPDX-License-Identifier: Apache-2.0
// Recorded calls: a launch gives the bits of the calls themselves, reads through pointers anew, and
// what a recording cannot hold is refused. On a CPU library all of it is unsupported.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "machines.h"

namespace {

// A context, and arrays in its memory.
class Graph : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(PND_OK, pnd_open(&context_, 0, 1, 64 << 20)); }
  void TearDown() override {
    if (context_ == nullptr) return;
    EXPECT_EQ(PND_OK, pnd_close(context_));
  }

  template <class T>
  T *device(const std::vector<T> &values) {
    void *memory = nullptr;
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    EXPECT_EQ(PND_OK, pnd_allocate(context_, &memory, bytes)) << message();
    EXPECT_EQ(PND_OK, pnd_upload(context_, memory, values.data(), bytes)) << message();
    return static_cast<T *>(memory);
  }
  template <class T>
  void upload(T *to, const std::vector<T> &values) {
    const auto bytes = static_cast<int64_t>(values.size() * sizeof(T));
    ASSERT_EQ(PND_OK, pnd_upload(context_, to, values.data(), bytes)) << message();
  }
  template <class T>
  std::vector<T> host(const T *from, int64_t n) {
    std::vector<T> values(n);
    const auto bytes = static_cast<int64_t>(n * sizeof(T));
    EXPECT_EQ(PND_OK, pnd_download(context_, values.data(), from, bytes)) << message();
    return values;
  }
  // The graph of what `calls` calls.
  template <class F>
  void *recorded(F &&calls) {
    void *graph = nullptr;
    EXPECT_EQ(PND_OK, pnd_record(context_)) << message();
    calls();
    EXPECT_EQ(PND_OK, pnd_recorded(context_, &graph)) << message();
    EXPECT_NE(nullptr, graph);
    return graph;
  }
  void *recorded_exp(float *y, const float *x) {
    return recorded([&] { EXPECT_EQ(PND_OK, pnd_exp(context_, PND_F32, y, x, 8)); });
  }
  std::string message() { return message_of({"", nullptr, context_}); }
  void refuses(int32_t status, const std::string &words) {
    EXPECT_EQ(PND_BAD_ARGUMENT, status);
    EXPECT_NE(std::string::npos, message().find(words)) << message();
  }
  static bool here() { return !has_header_order(); }

  pnd_context *context_ = nullptr;
};

TEST_F(Graph, isUnsupportedOnACpuLibrary) {
  if (here()) GTEST_SKIP() << "this library records calls";
  void *graph = nullptr, *stream = this;
  EXPECT_EQ(PND_UNSUPPORTED, pnd_record(context_));
  EXPECT_EQ("record: a CPU library records no calls", message());
  EXPECT_EQ(PND_UNSUPPORTED, pnd_recorded(context_, &graph));
  EXPECT_EQ(PND_UNSUPPORTED, pnd_launch(context_, nullptr));
  EXPECT_EQ(PND_UNSUPPORTED, pnd_release_graph(context_, nullptr));
  EXPECT_EQ(PND_OK, pnd_stream(context_, &stream));
  EXPECT_EQ(nullptr, stream);
}

TEST_F(Graph, aStreamIsNamed) {
  if (!here()) GTEST_SKIP() << "a CPU library records no calls";
  void *stream = nullptr;
  EXPECT_EQ(PND_OK, pnd_stream(context_, &stream));
  EXPECT_NE(nullptr, stream);
}

// A chain of calls whose last one updates in place, with the rate read from memory.
TEST_F(Graph, givesTheBitsOfTheCallsAndReadsMemoryAnew) {
  if (!here()) GTEST_SKIP() << "a CPU library records no calls";
  constexpr int64_t n = 301;
  const auto start = random_data<float>(n, 1);
  float *parameter = device(start), *velocity = device(std::vector<float>(n));
  float *x = device(random_data<float>(n, 2)), *a = device(std::vector<float>(n));
  float *gradient = device(std::vector<float>(n)), *rate = device<float>({0.1f});
  float *one = device<float>({1});
  const auto step = [&] {
    EXPECT_EQ(PND_OK, pnd_tanh(context_, PND_F32, a, x, n));
    EXPECT_EQ(PND_OK, pnd_mul(context_, PND_F32, gradient, a, parameter, 1, 1, n));
    EXPECT_EQ(PND_OK,
              pnd_sgd(context_, PND_F32, parameter, velocity, gradient, rate, one, n, 0.9, 0.01));
  };
  // Three steps, each with an input and a rate of its own.
  const auto run = [&](auto &&take) {
    upload(parameter, start);
    upload(velocity, std::vector<float>(n));
    for (uint32_t k = 0; k < 3; ++k) {
      upload(x, random_data<float>(n, 10 + k));
      upload(rate, {0.1f + 0.05f * static_cast<float>(k)});
      take();
    }
    return host(parameter, n);
  };
  const auto direct = run(step);
  upload(parameter, start);
  void *graph = recorded(step);
  expect_equal(host(parameter, n), start);  // recorded and not run
  const auto launch = [&] { EXPECT_EQ(PND_OK, pnd_launch(context_, graph)) << message(); };
  expect_equal(run(launch), direct);
  expect_equal(run(launch), direct);
  EXPECT_EQ(PND_OK, pnd_release_graph(context_, graph));
}

TEST_F(Graph, whatARecordingCannotHoldIsRefused) {
  if (!here()) GTEST_SKIP() << "a CPU library records no calls";
  float *x = device(random_data<float>(8)), *y = device(std::vector<float>(8));
  void *memory = nullptr, *graph = recorded_exp(y, x), *other = nullptr;
  float on_host[8] = {};
  ASSERT_EQ(PND_OK, pnd_record(context_));
  const char *words = "not while calls are recorded";
  refuses(pnd_record(context_), words);
  refuses(pnd_allocate(context_, &memory, 8), words);
  refuses(pnd_release(context_, x), words);
  refuses(pnd_upload(context_, x, on_host, 8), words);
  refuses(pnd_download(context_, on_host, x, 8), words);
  refuses(pnd_synchronize(context_), words);
  refuses(pnd_launch(context_, graph), words);
  refuses(pnd_release_graph(context_, graph), words);
  // A refused call leaves the recording as it was.
  refuses(pnd_exp(context_, PND_F32, y, y, 8), "overlaps");
  EXPECT_EQ(PND_OK, pnd_log(context_, PND_F32, y, x, 8));
  EXPECT_EQ(PND_OK, pnd_copy(context_, x, y, 32));
  ASSERT_EQ(PND_OK, pnd_recorded(context_, &other)) << message();
  refuses(pnd_recorded(context_, &memory), "no recording has begun");
  EXPECT_EQ(nullptr, memory);
  EXPECT_EQ(PND_OK, pnd_launch(context_, graph));
  EXPECT_EQ(PND_OK, pnd_launch(context_, other));
  expect_equal(host(x, 8), host(y, 8));
}

TEST_F(Graph, scratchMemoryDoesNotGrowInARecording) {
  if (!here()) GTEST_SKIP() << "a CPU library records no calls";
  constexpr int64_t rows = 300, cols = 33;
  const std::vector<float> zeros(rows * cols);
  float *dx = device(zeros), *dgain = device(zeros), *dbias = device(zeros);
  const float *x = device(random_data<float>(rows * cols, 1));
  const float *dy = device(random_data<float>(rows * cols, 2));
  const float *row = device(random_data<float>(rows, 3));
  const auto call = [&] {
    return pnd_layer_norm_backward(context_, PND_F32, dx, dgain, dbias, dy, x, dy, row, row, rows,
                                   cols);
  };
  void *graph = recorded([&] { refuses(call(), "run the step once"); });
  ASSERT_EQ(PND_OK, pnd_release_graph(context_, graph)) << message();
  EXPECT_EQ(PND_OK, call()) << message();
  const auto direct = host(dgain, cols);
  upload(dgain, zeros);
  graph = recorded([&] { EXPECT_EQ(PND_OK, call()) << message(); });
  // A larger call after it: the graph keeps the memory it was recorded with.
  constexpr int64_t more = 40 * rows;
  const float *large = device(random_data<float>(more * cols, 4));
  float *large_dx = device(std::vector<float>(more * cols));
  EXPECT_EQ(PND_OK, pnd_layer_norm_backward(context_, PND_F32, large_dx, dbias, dgain, large, large,
                                            dy, large, large + more, more, cols))
      << message();
  EXPECT_EQ(PND_OK, pnd_launch(context_, graph)) << message();
  expect_equal(host(dgain, cols), direct);
  // With the last graph goes the scratch memory that graphs alone used.
  int64_t with = 0, without = 0, peak = 0, limit = 0;
  ASSERT_EQ(PND_OK, pnd_memory(context_, &with, &peak, &limit));
  ASSERT_EQ(PND_OK, pnd_release_graph(context_, graph)) << message();
  ASSERT_EQ(PND_OK, pnd_memory(context_, &without, &peak, &limit));
  EXPECT_LT(without, with);
}

TEST_F(Graph, valuesOutsideTheirRangeAreFoundAfterALaunch) {
  if (!here()) GTEST_SKIP() << "a CPU library records no calls";
  float *table = device(random_data<float>(12)), *y = device(std::vector<float>(12));
  int32_t *index = device<int32_t>({0, 2, 1});
  void *graph =
      recorded([&] { EXPECT_EQ(PND_OK, pnd_gather(context_, PND_F32, y, table, index, 3, 3, 4)); });
  EXPECT_EQ(PND_OK, pnd_launch(context_, graph));
  EXPECT_EQ(PND_OK, pnd_synchronize(context_)) << message();
  upload(index, {0, 1, 3});
  EXPECT_EQ(PND_OK, pnd_launch(context_, graph));
  refuses(pnd_synchronize(context_), "gather: index[2] = 3 must lie in [0, 3)");
  upload(index, {2, 1, 0});
  EXPECT_EQ(PND_OK, pnd_launch(context_, graph));
  EXPECT_EQ(PND_OK, pnd_synchronize(context_)) << message();
}

TEST_F(Graph, foreignGraphsAreRefused) {
  if (!here()) GTEST_SKIP() << "a CPU library records no calls";
  float *x = device(random_data<float>(8)), *y = device(std::vector<float>(8));
  void *graph = recorded_exp(y, x);
  pnd_context *other = nullptr;
  ASSERT_EQ(PND_OK, pnd_open(&other, 0, 1, 0));
  EXPECT_EQ(PND_BAD_ARGUMENT, pnd_launch(other, graph));
  EXPECT_EQ(PND_BAD_ARGUMENT, pnd_release_graph(other, graph));
  EXPECT_EQ(PND_OK, pnd_close(other));
  for (void *wrong : {static_cast<void *>(nullptr), static_cast<void *>(x)}) {
    refuses(pnd_launch(context_, wrong), "is none of this context");
    refuses(pnd_release_graph(context_, wrong), "is none of this context");
  }
  EXPECT_EQ(PND_OK, pnd_launch(context_, graph));
  EXPECT_EQ(PND_OK, pnd_release_graph(context_, graph));
  refuses(pnd_release_graph(context_, graph), "is none of this context");
  refuses(pnd_launch(context_, graph), "is none of this context");
  refuses(pnd_recorded(context_, nullptr), "graph is null");
}

// A leak here is for LeakSanitizer to see.
TEST_F(Graph, closingReleasesAll) {
  if (!here()) GTEST_SKIP() << "a CPU library records no calls";
  float *x = device(random_data<float>(8)), *y = device(std::vector<float>(8));
  recorded_exp(y, x);
  ASSERT_EQ(PND_OK, pnd_record(context_));
  EXPECT_EQ(PND_OK, pnd_log(context_, PND_F32, y, x, 8));
  EXPECT_EQ(PND_OK, pnd_close(context_));
  context_ = nullptr;
}

}  // namespace
