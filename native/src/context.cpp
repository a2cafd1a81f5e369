// SPDX-License-Identifier: Apache-2.0
// context: life cycle, memory and the thread pool of a CPU context.
#include "context.h"

#include <sched.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <unordered_map>
#include <vector>

#include "guards/context.h"

#ifdef __SSE2__
#include <immintrin.h>
#endif

namespace {

void pause_briefly() {
#ifdef __SSE2__
  _mm_pause();
#else
  std::this_thread::yield();
#endif
}

int32_t processors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

// The first number in a file, or -1 ("max" and a missing file included).
int64_t number_in(const char *path) {
  int64_t value = -1;
  if (std::FILE *file = std::fopen(path, "r")) {
    long long read = 0;
    if (std::fscanf(file, "%lld", &read) == 1) value = read;
    std::fclose(file);
  }
  return value;
}

int64_t default_limit() {
  int64_t bytes = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE);
  const char *files[] = {"/sys/fs/cgroup/memory.max",
                         "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
  for (const char *file : files) {
    const int64_t limit = number_in(file);
    if (limit > 0) bytes = std::min(bytes, limit);
  }
  return bytes / 5 * 4;
}

// Aligned memory, null if there is none; large blocks in huge pages where the system grants them: a
// kernel that walks many rows would wait for page tables otherwise.
void *aligned_block(int64_t alignment, int64_t bytes) {
  constexpr int64_t kHugePage = 1 << 21;
  const bool large = bytes >= 2 * kHugePage;
  void *block = nullptr;
  if (posix_memalign(&block, large ? kHugePage : alignment, bytes) != 0) return nullptr;
  // Whole huge pages only: no more memory is held than asked for. A refusal costs speed alone.
  if (large) (void)madvise(block, bytes / kHugePage * kHugePage, MADV_HUGEPAGE);
  return block;
}

}  // namespace

struct Blocks {
  std::unordered_map<void *, int64_t> bytes;
};

// One job at a time. `ticket` holds the job's number in its upper half and the next chunk in its
// lower half, so that a worker that comes late can never take a chunk of another job.
class Workers {
 public:
  Workers(int32_t count) {
    threads_.reserve(count);
    for (int32_t i = 0; i < count; ++i) {
      threads_.emplace_back([this, i] { serve(i + 1); });
    }
  }

  ~Workers() {
    stop_.store(true);
    job_.fetch_add(1);
    job_.notify_all();
    for (std::thread &thread : threads_) thread.join();
  }

  void run(int64_t chunks, ChunkFunction function, void *body) {
    const uint32_t job = job_.load(std::memory_order_relaxed) + 1;
    const uint64_t number = static_cast<uint64_t>(job) << 32;
    ticket_.exchange(number | 0xffffffffu, std::memory_order_acq_rel);  // closes the last job
    function_.store(function, std::memory_order_relaxed);
    body_.store(body, std::memory_order_relaxed);
    chunks_.store(chunks, std::memory_order_relaxed);
    done_.store(0, std::memory_order_relaxed);
    ticket_.store(number, std::memory_order_release);
    job_.store(job, std::memory_order_release);
    job_.notify_all();
    take_chunks(job, 0);
    for (int spin = 0; done_.load(std::memory_order_acquire) != chunks; ++spin) {
      if (spin < kSpins) {
        pause_briefly();
      } else {
        const int64_t seen = done_.load(std::memory_order_acquire);
        if (seen != chunks) done_.wait(seen, std::memory_order_acquire);
      }
    }
  }

 private:
  static constexpr int kSpins = 2000;

  void serve(int worker) {
    uint32_t seen = 0;
    for (;;) {
      for (int spin = 0; job_.load(std::memory_order_acquire) == seen && spin < kSpins; ++spin) {
        pause_briefly();
      }
      job_.wait(seen, std::memory_order_acquire);
      seen = job_.load(std::memory_order_acquire);
      if (stop_.load()) return;
      take_chunks(seen, worker);
    }
  }

  void take_chunks(uint32_t job, int worker) {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    for (;;) {
      const int64_t chunks = chunks_.load(std::memory_order_relaxed);
      const int64_t chunk = static_cast<int64_t>(ticket & 0xffffffffu);
      if (static_cast<uint32_t>(ticket >> 32) != job || chunk >= chunks) return;
      const ChunkFunction function = function_.load(std::memory_order_relaxed);
      void *body = body_.load(std::memory_order_relaxed);
      if (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel)) continue;
      function(body, chunk, worker);
      if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 == chunks) done_.notify_all();
      ticket = ticket_.load(std::memory_order_acquire);
    }
  }

  std::atomic<uint32_t> job_{0};
  std::atomic<uint64_t> ticket_{0};
  std::atomic<int64_t> done_{0};
  std::atomic<int64_t> chunks_{0};
  std::atomic<ChunkFunction> function_{nullptr};
  std::atomic<void *> body_{nullptr};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

void run_chunks(pnd_context *context, int64_t chunks, ChunkFunction run, void *body) {
  context->workers->run(chunks, run, body);
}

Call &Call::indices(const char *name, const int32_t *index, int64_t count, int64_t low,
                    int64_t high) {
  if (refused()) return *this;
  for (int64_t i = 0; i < count; ++i) {
    if (index[i] < low || index[i] >= high) {
      return require(false, "%s[%lld] = %d must lie in [%lld, %lld)", name,
                     static_cast<long long>(i), index[i], static_cast<long long>(low),
                     static_cast<long long>(high));
    }
  }
  return *this;
}

Call &Call::starts(const char *name, const int32_t *starts, int64_t segments, int64_t total) {
  if (refused()) return *this;
  require(starts[0] == 0, "%s[0] = %d must be 0", name, starts[0]);
  for (int64_t i = 1; i <= segments && !refused(); ++i) {
    require(starts[i] >= starts[i - 1], "%s[%lld] = %d must not be below %d", name,
            static_cast<long long>(i), starts[i], starts[i - 1]);
  }
  return require(starts[segments] == total, "%s[%lld] = %d must be %lld", name,
                 static_cast<long long>(segments), starts[segments], static_cast<long long>(total));
}

Call &Call::reserve(int64_t bytes_per_thread, int64_t shared_bytes) {
  if (refused()) return *this;
  auto *context = static_cast<pnd_context *>(context_);
  const auto grown = [](int64_t size, int64_t wanted) {
    constexpr int64_t kPage = 4096;
    return std::max(size, (wanted + kPage - 1) / kPage * kPage);
  };
  const int64_t size = grown(context->scratch_size, bytes_per_thread);
  const int64_t shared = grown(context->shared_size, shared_bytes);
  if (size == context->scratch_size && shared == context->shared_size) return *this;
  const int64_t threads = context->threads;
  const int64_t others = context->used - threads * context->scratch_size - context->shared_size;
  const int64_t room = context->limit - others - shared;
  if (room < 0 || size > room / threads) {
    return refuse(PND_OUT_OF_MEMORY,
                  "scratch memory of %lld bytes for each of %lld threads and %lld for all passes "
                  "the limit of %lld",
                  static_cast<long long>(size), static_cast<long long>(threads),
                  static_cast<long long>(shared), static_cast<long long>(context->limit));
  }
  std::free(context->scratch);
  context->used = others;
  context->scratch_size = context->shared_size = 0;
  const int64_t all = threads * size + shared;
  context->scratch = static_cast<char *>(aligned_block(4096, all));
  if (context->scratch == nullptr) {
    return refuse(PND_OUT_OF_MEMORY, "the system has no %lld bytes of scratch memory",
                  static_cast<long long>(all));
  }
  context->scratch_size = size;
  context->shared_size = shared;
  context->used += all;
  context->peak = std::max(context->peak, context->used);
  return *this;
}

// ---- life cycle ---------------------------------------------------------------------------------

int32_t pnd_open(pnd_context **context, int32_t device, int32_t threads, int64_t memory_limit) {
  const int32_t status = guard::open(context, threads, memory_limit);
  if (status != PND_OK) return status;
  if (device != 0) return refuse_open(PND_UNSUPPORTED, "a CPU library has one device, 0");
  auto *made = new (std::nothrow) pnd_context{};
  if (made == nullptr) return refuse_open(PND_OUT_OF_MEMORY, "no memory for a context");
  made->threads = threads == 0 ? processors() : threads;
  made->limit = memory_limit == 0 ? default_limit() : memory_limit;
  made->blocks = new (std::nothrow) Blocks;
  try {
    if (made->threads > 1) made->workers = new Workers(made->threads - 1);
  } catch (...) {
    delete made->blocks;
    delete made;
    return refuse_open(PND_DEVICE_FAILED, "the system refused a thread");
  }
  if (made->blocks == nullptr) {
    delete made->workers;
    delete made;
    return refuse_open(PND_OUT_OF_MEMORY, "no memory for a context");
  }
  *context = made;
  return PND_OK;
}

int32_t pnd_close(pnd_context *context) {
  {
    Call call(context, "close");
    if (call.refused()) return call.status();
  }
  delete context->workers;
  for (const auto &block : context->blocks->bytes) std::free(block.first);
  delete context->blocks;
  std::free(context->scratch);
  delete context;
  return PND_OK;
}

int32_t pnd_message(pnd_context *context, char *text, int64_t capacity) {
  return read_message(context, text, capacity);
}

int32_t pnd_abi_version(pnd_context *, int32_t *version) { return read_abi_version(version); }

int32_t pnd_build(pnd_context *, char *text, int64_t capacity) {
  return read_build(text, capacity);
}

int32_t pnd_memory(pnd_context *context, int64_t *used, int64_t *peak, int64_t *limit) {
  return read_memory(context, used, peak, limit);
}

int32_t pnd_threads(pnd_context *context, int32_t *threads) {
  Call call(context, "threads");
  guard::threads(call, threads);
  if (call.refused()) return call.status();
  *threads = context->threads;
  return PND_OK;
}

int32_t pnd_allocate(pnd_context *context, void **memory, int64_t bytes) {
  Call call(context, "allocate");
  guard::allocate(call, memory, bytes);
  if (call.refused()) return call.status();
  *memory = nullptr;
  const auto refuse = [&](const char *why) {
    return call
        .refuse(PND_OUT_OF_MEMORY, "%lld bytes asked, %lld of %lld in use: %s",
                static_cast<long long>(bytes), static_cast<long long>(context->used),
                static_cast<long long>(context->limit), why)
        .status();
  };
  if (bytes > context->limit - context->used) return refuse("beyond the limit");
  const int64_t whole = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  void *block = aligned_block(kAlignment, whole);
  if (block == nullptr) return refuse("the system has no more");
  try {
    context->blocks->bytes.emplace(block, bytes);
  } catch (...) {
    std::free(block);
    return refuse("the system has no more");
  }
  context->used += bytes;
  context->peak = std::max(context->peak, context->used);
  *memory = block;
  return PND_OK;
}

int32_t pnd_release(pnd_context *context, void *memory) {
  Call call(context, "release");
  if (call.refused()) return call.status();
  const auto block = context->blocks->bytes.find(memory);
  call.require(block != context->blocks->bytes.end(), "memory %p did not come from allocate",
               memory);
  if (call.refused()) return call.status();
  context->used -= block->second;
  context->blocks->bytes.erase(block);
  std::free(memory);
  return PND_OK;
}

static int32_t copy_bytes(pnd_context *context, const char *name, void *to, const void *from,
                          int64_t bytes) {
  Call call(context, name);
  guard::copy(call, to, from, bytes);
  if (call.refused()) return call.status();
  std::memcpy(to, from, static_cast<size_t>(bytes));
  return PND_OK;
}

int32_t pnd_upload(pnd_context *context, void *to, const void *from, int64_t bytes) {
  return copy_bytes(context, "upload", to, from, bytes);
}

int32_t pnd_download(pnd_context *context, void *to, const void *from, int64_t bytes) {
  return copy_bytes(context, "download", to, from, bytes);
}

int32_t pnd_copy(pnd_context *context, void *to, const void *from, int64_t bytes) {
  return copy_bytes(context, "copy", to, from, bytes);
}

int32_t pnd_synchronize(pnd_context *context) {
  Call call(context, "synchronize");
  return call.status();
}

int32_t pnd_stream(pnd_context *context, void **stream) {
  Call call(context, "stream");
  guard::stream(call, stream);
  if (call.refused()) return call.status();
  *stream = nullptr;
  return PND_OK;
}

// ---- recorded calls -----------------------------------------------------------------------------

static int32_t refuse_recording(Call &call) {
  return call.refuse(PND_UNSUPPORTED, "a CPU library records no calls").status();
}

int32_t pnd_record(pnd_context *context) {
  Call call(context, "record");
  return refuse_recording(call);
}

int32_t pnd_recorded(pnd_context *context, void **graph) {
  Call call(context, "recorded");
  guard::recorded(call, graph);
  return refuse_recording(call);
}

int32_t pnd_launch(pnd_context *context, void *) {
  Call call(context, "launch");
  return refuse_recording(call);
}

int32_t pnd_release_graph(pnd_context *context, void *) {
  Call call(context, "release_graph");
  return refuse_recording(call);
}
