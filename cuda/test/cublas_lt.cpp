// SPDX-License-Identifier: Apache-2.0
// A stand-in for libcublasLt.so.13 on the simulated device: the functions that cuda/src/blas.cu
// uses, computed by plain loops, with the refusals that it must live with.
//   an inner size of 7     no algorithm is found
//   an inner size of 11    one is found and then not supported
//   an inner size of 13    the device fails
#include <cstdint>
#include <cstring>

static uint32_t bits_of(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}
static float of_bits(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
}

#include "bf16.h"

namespace {

enum Status { kSuccess = 0, kInvalid = 7, kFailed = 13, kNotSupported = 15 };
enum Type { kFloat = 0, kDouble = 1, kBf16 = 14 };
constexpr uint64_t kWorkspace = 4096;

struct Desc {
  int compute, scale;
  int32_t a_op = 0, b_op = 0;
};
struct Layout {
  int type;
  int64_t rows, cols, ld;
  int32_t batch = 1;
  int64_t step = 0;
};
struct Preference {
  uint64_t workspace = 0;
  uint32_t alignment[4] = {256, 256, 256, 256};
};
struct Algo {
  uint64_t data[8];
};
struct Result {
  Algo algo;
  size_t workspace;
  int state;
  float waves;
  int reserved[4];
};

int opened = 0, products = 0, descriptors = 0;

template <class T>
int take(T &to, const void *from, size_t bytes) {
  if (bytes != sizeof to) return kInvalid;
  std::memcpy(&to, from, bytes);
  return kSuccess;
}

double get(const void *array, int type, int64_t i) {
  if (type == kDouble) return static_cast<const double *>(array)[i];
  if (type == kFloat) return static_cast<const float *>(array)[i];
  return widened(static_cast<const Bf16 *>(array)[i]);
}

void put(void *array, int type, int64_t i, double value) {
  if (type == kDouble) {
    static_cast<double *>(array)[i] = value;
  } else if (type == kFloat) {
    static_cast<float *>(array)[i] = static_cast<float>(value);
  } else {
    static_cast<Bf16 *>(array)[i] = narrowed(value);
  }
}

int64_t inner_of(const Desc &desc, const Layout &a) { return desc.a_op == 1 ? a.rows : a.cols; }

// Whether the descriptors belong together: d = op(a) op(b).
bool fits(const Desc &desc, const Layout &a, const Layout &b, const Layout &c, const Layout &d) {
  const bool doubles = d.type == kDouble;
  return desc.compute == (doubles ? 70 : 68) && desc.scale == (doubles ? kDouble : kFloat) &&
         a.type == d.type && b.type == d.type && c.type == d.type && a.batch == d.batch &&
         b.batch == d.batch && (desc.a_op == 1 ? a.cols : a.rows) == d.rows &&
         (desc.b_op == 1 ? b.rows : b.cols) == d.cols &&
         inner_of(desc, a) == (desc.b_op == 1 ? b.cols : b.rows) && a.ld >= a.rows &&
         b.ld >= b.rows && d.ld >= d.rows;
}

}  // namespace

extern "C" {

// What the test asks: 0 open handles, 1 products so far, 2 descriptors that are left.
int stand_in(int what) { return what == 0 ? opened : what == 1 ? products : descriptors; }

int cublasLtCreate(int **handle) {
  *handle = new int(++opened);
  return kSuccess;
}
int cublasLtDestroy(int *handle) {
  delete handle;
  --opened;
  return kSuccess;
}
int cublasLtMatmulDescCreate(Desc **desc, int compute, int scale) {
  *desc = new Desc{compute, scale};
  ++descriptors;
  return kSuccess;
}
int cublasLtMatmulDescSetAttribute(Desc *desc, int attribute, const void *value, size_t bytes) {
  if (attribute == 3) return take(desc->a_op, value, bytes);
  return attribute == 4 ? take(desc->b_op, value, bytes) : kInvalid;
}
int cublasLtMatmulDescDestroy(Desc *desc) {
  delete desc;
  --descriptors;
  return kSuccess;
}
int cublasLtMatrixLayoutCreate(Layout **layout, int type, uint64_t rows, uint64_t cols,
                               int64_t ld) {
  *layout = new Layout{type, static_cast<int64_t>(rows), static_cast<int64_t>(cols), ld};
  ++descriptors;
  return kSuccess;
}
int cublasLtMatrixLayoutSetAttribute(Layout *layout, int attribute, const void *value,
                                     size_t bytes) {
  if (attribute == 5) return take(layout->batch, value, bytes);
  return attribute == 6 ? take(layout->step, value, bytes) : kInvalid;
}
int cublasLtMatrixLayoutDestroy(Layout *layout) {
  delete layout;
  --descriptors;
  return kSuccess;
}
int cublasLtMatmulPreferenceCreate(Preference **preference) {
  *preference = new Preference;
  ++descriptors;
  return kSuccess;
}
int cublasLtMatmulPreferenceSetAttribute(Preference *preference, int attribute, const void *value,
                                         size_t bytes) {
  if (attribute == 1) return take(preference->workspace, value, bytes);
  if (attribute < 5 || attribute > 8) return kInvalid;
  return take(preference->alignment[attribute - 5], value, bytes);
}
int cublasLtMatmulPreferenceDestroy(Preference *preference) {
  delete preference;
  --descriptors;
  return kSuccess;
}

int cublasLtMatmulAlgoGetHeuristic(int *, const Desc *desc, const Layout *a, const Layout *b,
                                   const Layout *c, const Layout *d, const Preference *preference,
                                   int wanted, Result *results, int *found) {
  *found = 0;
  if (!fits(*desc, *a, *b, *c, *d) || wanted != 1) return kInvalid;
  for (uint32_t alignment : preference->alignment) {
    if (alignment != 16) return kInvalid;
  }
  if (preference->workspace < kWorkspace) return kInvalid;
  if (inner_of(*desc, *a) == 7) return kNotSupported;
  results[0] = {{{42}}, kWorkspace, kSuccess, 1, {}};
  *found = 1;
  return kSuccess;
}

int cublasLtMatmul(int *, const Desc *desc, const void *alpha, const void *a, const Layout *of_a,
                   const void *b, const Layout *of_b, const void *beta, const void *c,
                   const Layout *of_c, void *d, const Layout *of_d, const Algo *algo,
                   void *workspace, size_t workspace_bytes, void *) {
  const int64_t inner = inner_of(*desc, *of_a);
  if (!fits(*desc, *of_a, *of_b, *of_c, *of_d) || c != d || algo->data[0] != 42) return kInvalid;
  if (workspace == nullptr || workspace_bytes < kWorkspace) return kInvalid;
  if (get(alpha, desc->scale, 0) != 1 || get(beta, desc->scale, 0) != 0) return kInvalid;
  if (inner == 11) return kNotSupported;
  if (inner == 13) return kFailed;
  std::memset(workspace, 0xFF, kWorkspace);
  ++products;
  for (int64_t g = 0; g < of_d->batch; ++g) {
    for (int64_t col = 0; col < of_d->cols; ++col) {
      for (int64_t row = 0; row < of_d->rows; ++row) {
        double sum = 0;
        for (int64_t k = 0; k < inner; ++k) {
          const int64_t i = desc->a_op == 1 ? row * of_a->ld + k : k * of_a->ld + row;
          const int64_t j = desc->b_op == 1 ? k * of_b->ld + col : col * of_b->ld + k;
          sum += get(a, of_a->type, g * of_a->step + i) * get(b, of_b->type, g * of_b->step + j);
        }
        put(d, of_d->type, g * of_d->step + col * of_d->ld + row, sum);
      }
    }
  }
  return kSuccess;
}
}
