// SPDX-License-Identifier: Apache-2.0
// blas: matrix products by NVIDIA's cuBLASLt, found at run time.
// y[g,r,c] = sum over k of op(a)[g,r,k] op(b)[g,k,c]
// Shapes   as pnd_matmul's; arrays aligned to 16 bytes
// Method   libcublasLt.so.13, then .12, is opened by the first large product. Its matrices are
//          column-major: it is asked for the transpose of y. What it chose for a product of given
//          type and sizes is kept
// Order    cuBLASLt's, the same from run to run on the same device with the same release
// Error    <= 2 x the plain loop: bf16 and f32 are summed in f32, never in TF32
// Work     2 rows cols inner flops a product
// Source   cuBLAS documentation, "Using the cuBLASLt API" and "Results Reproducibility"
#include "blas.cuh"

#include <dlfcn.h>

#include <cmath>
#include <cstdlib>
#include <map>
#include <new>
#include <tuple>

namespace {

// The part of cublasLt.h that is used here, by its own names.
using cublasStatus_t = int;
constexpr cublasStatus_t CUBLAS_STATUS_SUCCESS = 0, CUBLAS_STATUS_EXECUTION_FAILED = 13;
constexpr int CUDA_R_32F = 0, CUDA_R_64F = 1, CUDA_R_16BF = 14;
constexpr int CUBLAS_COMPUTE_32F = 68, CUBLAS_COMPUTE_64F = 70;
constexpr int32_t CUBLAS_OP_T = 1;
constexpr int CUBLASLT_MATMUL_DESC_TRANSA = 3, CUBLASLT_MATMUL_DESC_TRANSB = 4;
constexpr int CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT = 5;
constexpr int CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET = 6;
constexpr int CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES = 1;
constexpr int CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES = 5;  // then B, C and D
struct cublasLtMatmulAlgo_t {
  uint64_t data[8];
};
struct cublasLtMatmulHeuristicResult_t {
  cublasLtMatmulAlgo_t algo;
  size_t workspaceSize;
  cublasStatus_t state;
  float wavesCount;
  int reserved[4];
};
using Opaque = struct OpaqueDescriptor *;  // any of its handles and descriptors

constexpr uint64_t kMostWorkspace = 32 << 20;
constexpr uint32_t kAligned = 16;

// How many multiply-adds a product must have: PONDER_CUBLASLT, 0 for never. Below the usual number
// its calls cost as much as the product. Not measured on a device yet.
double least_work() {
  const char *text = std::getenv("PONDER_CUBLASLT");
  const double least = text == nullptr ? 0x1p28 : std::atof(text);
  return least > 0 ? least : HUGE_VAL;
}

// Its functions, if it is installed.
struct Functions {
  cublasStatus_t (*create)(Opaque *);
  cublasStatus_t (*destroy)(Opaque);
  cublasStatus_t (*desc_create)(Opaque *, int compute, int scale);
  cublasStatus_t (*desc_set)(Opaque, int attribute, const void *, size_t);
  cublasStatus_t (*desc_destroy)(Opaque);
  cublasStatus_t (*layout_create)(Opaque *, int type, uint64_t rows, uint64_t cols, int64_t ld);
  cublasStatus_t (*layout_set)(Opaque, int attribute, const void *, size_t);
  cublasStatus_t (*layout_destroy)(Opaque);
  cublasStatus_t (*preference_create)(Opaque *);
  cublasStatus_t (*preference_set)(Opaque, int attribute, const void *, size_t);
  cublasStatus_t (*preference_destroy)(Opaque);
  cublasStatus_t (*choose)(Opaque handle, Opaque desc, Opaque a, Opaque b, Opaque c, Opaque d,
                           Opaque preference, int wanted, cublasLtMatmulHeuristicResult_t *,
                           int *found);
  cublasStatus_t (*matmul)(Opaque handle, Opaque desc, const void *alpha, const void *a,
                           Opaque a_layout, const void *b, Opaque b_layout, const void *beta,
                           const void *c, Opaque c_layout, void *d, Opaque d_layout,
                           const cublasLtMatmulAlgo_t *, void *workspace, size_t workspace_bytes,
                           cudaStream_t);

  // Whether all are there.
  bool find() {
    void *library = dlopen("libcublasLt.so.13", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) library = dlopen("libcublasLt.so.12", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    const auto get = [&](auto &function, const char *name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      return function != nullptr;
    };
    return get(create, "cublasLtCreate") && get(destroy, "cublasLtDestroy") &&
           get(desc_create, "cublasLtMatmulDescCreate") &&
           get(desc_set, "cublasLtMatmulDescSetAttribute") &&
           get(desc_destroy, "cublasLtMatmulDescDestroy") &&
           get(layout_create, "cublasLtMatrixLayoutCreate") &&
           get(layout_set, "cublasLtMatrixLayoutSetAttribute") &&
           get(layout_destroy, "cublasLtMatrixLayoutDestroy") &&
           get(preference_create, "cublasLtMatmulPreferenceCreate") &&
           get(preference_set, "cublasLtMatmulPreferenceSetAttribute") &&
           get(preference_destroy, "cublasLtMatmulPreferenceDestroy") &&
           get(choose, "cublasLtMatmulAlgoGetHeuristic") && get(matmul, "cublasLtMatmul");
  }
};

// The process's functions, or null.
const Functions *functions() {
  static Functions found;
  static const bool there = found.find();
  return there ? &found : nullptr;
}

using Key = std::tuple<int32_t, int64_t, int64_t, int64_t, int64_t, bool, bool>;

// What a product of one type and sizes is asked with.
class Plan {
 public:
  Plan(const Functions &f, Opaque handle, int32_t dtype, const ProductSizes &s) : f_(f) {
    const int type = dtype == PND_F64 ? CUDA_R_64F : dtype == PND_F32 ? CUDA_R_32F : CUDA_R_16BF;
    const bool doubles = dtype == PND_F64;
    // Row-major y is column-major y^T = op(b)^T op(a)^T.
    good_ = good(f.desc_create(&desc_, doubles ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                               doubles ? CUDA_R_64F : CUDA_R_32F)) &&
            (!s.b_transposed || set(f.desc_set, desc_, CUBLASLT_MATMUL_DESC_TRANSA, CUBLAS_OP_T)) &&
            (!s.a_transposed || set(f.desc_set, desc_, CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_T)) &&
            lay_out(&left_, type, s.b_transposed ? s.inner : s.cols,
                    s.b_transposed ? s.cols : s.inner, s.batch) &&
            lay_out(&right_, type, s.a_transposed ? s.rows : s.inner,
                    s.a_transposed ? s.inner : s.rows, s.batch) &&
            lay_out(&result_, type, s.cols, s.rows, s.batch) && choose(handle);
  }
  ~Plan() {
    if (result_ != nullptr) f_.layout_destroy(result_);
    if (right_ != nullptr) f_.layout_destroy(right_);
    if (left_ != nullptr) f_.layout_destroy(left_);
    if (desc_ != nullptr) f_.desc_destroy(desc_);
  }
  Plan(const Plan &) = delete;
  Plan &operator=(const Plan &) = delete;

  // Whether cuBLASLt takes the product.
  bool works() const { return good_; }
  void forget() { good_ = false; }
  int64_t workspace() const { return static_cast<int64_t>(chosen_.workspaceSize); }

  cublasStatus_t run(Opaque handle, bool doubles, void *y, const void *a, const void *b,
                     void *workspace, cudaStream_t stream) const {
    const float one = 1, zero = 0;
    const double wide_one = 1, wide_zero = 0;
    return f_.matmul(handle, desc_, doubles ? static_cast<const void *>(&wide_one) : &one, b, left_,
                     a, right_, doubles ? static_cast<const void *>(&wide_zero) : &zero, y, result_,
                     y, result_, &chosen_.algo, workspace, chosen_.workspaceSize, stream);
  }

 private:
  static bool good(cublasStatus_t status) { return status == CUBLAS_STATUS_SUCCESS; }

  template <class Value>
  static bool set(cublasStatus_t (*setter)(Opaque, int, const void *, size_t), Opaque object,
                  int attribute, Value value) {
    return good(setter(object, attribute, &value, sizeof value));
  }

  bool lay_out(Opaque *layout, int type, int64_t rows, int64_t cols, int64_t batch) {
    return good(f_.layout_create(layout, type, static_cast<uint64_t>(rows),
                                 static_cast<uint64_t>(cols), rows)) &&
           set(f_.layout_set, *layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
               static_cast<int32_t>(batch)) &&
           set(f_.layout_set, *layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, rows * cols);
  }

  bool choose(Opaque handle) {
    Opaque preference = nullptr;
    if (!good(f_.preference_create(&preference))) return false;
    bool done = set(f_.preference_set, preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                    kMostWorkspace);
    for (int matrix = 0; matrix < 4; ++matrix) {
      done = done && set(f_.preference_set, preference,
                         CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES + matrix, kAligned);
    }
    int found = 0;
    done = done &&
           good(f_.choose(handle, desc_, left_, right_, result_, result_, preference, 1, &chosen_,
                          &found)) &&
           found == 1 && good(chosen_.state) && chosen_.workspaceSize <= kMostWorkspace;
    f_.preference_destroy(preference);
    return done;
  }

  const Functions &f_;
  Opaque desc_ = nullptr, left_ = nullptr, right_ = nullptr, result_ = nullptr;
  cublasLtMatmulHeuristicResult_t chosen_{};
  bool good_ = false;
};

}  // namespace

struct Blas {
  const Functions *functions = nullptr;
  Opaque handle = nullptr;
  std::map<Key, Plan> plans;

  ~Blas() {
    plans.clear();
    if (handle != nullptr) functions->destroy(handle);
  }

  // The plan of a product, made if there is none; null without memory for it.
  Plan *plan(int32_t dtype, const ProductSizes &s) {
    const Key key(dtype, s.batch, s.rows, s.cols, s.inner, s.a_transposed, s.b_transposed);
    const auto known = plans.find(key);
    if (known != plans.end()) return &known->second;
    return &plans
                .emplace(std::piecewise_construct, std::forward_as_tuple(key),
                         std::forward_as_tuple(*functions, handle, dtype, s))
                .first->second;
  }
};

void close_blas(Blas *blas) { delete blas; }

bool blas_computes(Call &call, pnd_context *context, int32_t dtype, void *y, const void *a,
                   const void *b, const ProductSizes &sizes) {
  static const double least = least_work();
  const double work = static_cast<double>(sizes.batch) * static_cast<double>(sizes.rows) *
                      static_cast<double>(sizes.cols) * static_cast<double>(sizes.inner);
  constexpr int64_t kMostBatch = 0x7fffffff;
  for (const void *array : {static_cast<const void *>(y), a, b}) {
    if (reinterpret_cast<uintptr_t>(array) % kAligned != 0) return false;
  }
  if (call.refused() || work < least || sizes.batch > kMostBatch) return false;
  const Functions *f = functions();
  if (f == nullptr) return false;
  cudaSetDevice(context->device);
  try {
    if (context->blas == nullptr) {
      context->blas = new Blas;
      context->blas->functions = f;
      if (f->create(&context->blas->handle) != CUBLAS_STATUS_SUCCESS) {
        context->blas->handle = nullptr;
      }
    }
    if (context->blas->handle == nullptr) return false;
    Plan *plan = context->blas->plan(dtype, sizes);
    if (!plan->works()) return false;
    if (call.reserve(0, plan->workspace()).refused()) return true;
    const cublasStatus_t status = plan->run(context->blas->handle, dtype == PND_F64, y, a, b,
                                            context->scratch, context->stream);
    if (status == CUBLAS_STATUS_EXECUTION_FAILED) {
      context->failed = true;
      call.refuse(PND_DEVICE_FAILED, "the device failed: cuBLASLt could not run the product");
    } else if (status != CUBLAS_STATUS_SUCCESS) {
      plan->forget();
      return false;
    }
    return true;
  } catch (const std::bad_alloc &) {
    return false;
  }
}
