/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ponder.h: the whole boundary of the Ponder engine. Every library built from this repository
 * exports exactly the functions declared here, and Java reaches nothing else.
 *
 * Rules that hold for every function, so that the comments below need not repeat them:
 *
 *   Status    Each function returns a pnd_status. Anything but PND_OK leaves one sentence in the
 *             context, read with pnd_message; outputs are then undefined. No function aborts,
 *             exits, prints or throws.
 *   Order     context, dtype, outputs, inputs, sizes (int64_t), scalars. Scalars by value are
 *             constants of the model; what changes from step to step is read through a pointer.
 *   Arrays    Row-major and contiguous. `void *` arrays have the element type named by `dtype`;
 *             the letters in square brackets are their shapes. A non-null pointer must reach its
 *             stated size. Buffers are the caller's: aligned to the element, from pnd_allocate
 *             or, on a CPU library, from anywhere.
 *   Refused   Null (unless marked "nullable"), misaligned and overlapping arrays (an output may
 *             share no byte with any other argument unless stated), sizes below 1, and sizes
 *             whose product overflows: PND_BAD_ARGUMENT. An unknown or unsupported dtype:
 *             PND_BAD_ARGUMENT or PND_UNSUPPORTED.
 *   Threads   A context serves one thread at a time; a call while another runs is refused.
 *             Its own workers are parallel over independent rows or fixed chunks.
 *   Bits      For PND_F32 and PND_F64 the same arguments give the same bits on every CPU build
 *             and for any number of threads. Sums run in 32 virtual lanes (element i belongs to
 *             lane i mod 32) folded 16, 8, 4, 2, 1, unless a function states another order. A CUDA
 *             library gives the same bits from run to run, with orders of its own; elements, moves
 *             and random numbers agree with the CPU's in every bit.
 *   Return    A CUDA library's calls may return before their work is done; it is done in the order
 *             of the calls. A failure of the device may be reported by a later call; after it
 *             every call but pnd_close is refused with PND_DEVICE_FAILED.
 *   Memory    A context keeps scratch memory per thread that grows to the largest call so far;
 *             after that no call allocates. It counts towards the context's limit.
 */
#ifndef PONDER_H
#define PONDER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define PND_API __attribute__((visibility("default")))
#else
#define PND_API
#endif

/* Raised with every change of a declaration below; a library and a caller must agree on it. */
#define PND_ABI_VERSION 7

typedef struct pnd_context pnd_context;

typedef enum pnd_status {
  PND_OK = 0,
  PND_BAD_ARGUMENT = 1,
  PND_OUT_OF_MEMORY = 2,
  PND_UNSUPPORTED = 3,
  PND_DEVICE_FAILED = 4
} pnd_status;

/* PND_I32 holds indices, PND_BF16 (the upper half of an f32) numbers in half the memory: they are
 * accepted only where a comment says so, or "any type". What is computed from PND_BF16 is computed
 * in f32 and each result rounded once, to nearest, halves to even; every NaN becomes 0x7fff. */
typedef enum pnd_dtype { PND_F32 = 0, PND_F64 = 1, PND_I32 = 2, PND_BF16 = 3 } pnd_dtype;

/* ---- life cycle ------------------------------------------------------------------------- */

/* Opens a context on the library's device of that number (from 0; a CPU library has one) that may
 * hold at most memory_limit bytes (0: 80 % of the cgroup's or, where there is none, the machine's
 * memory; of what is free on a CUDA device). A CPU library works with that many threads, the caller
 * included (0: one per processor this process may run on); a CUDA library ignores them.
 * Where there is no such device: PND_UNSUPPORTED. */
PND_API int32_t pnd_open(pnd_context **context, int32_t device, int32_t threads,
                         int64_t memory_limit);

/* Closes the context: its workers end, and all memory it still holds is released. */
PND_API int32_t pnd_close(pnd_context *context);

/* Copies the sentence about the last failure to text [capacity], cut to capacity - 1 bytes and
 * closed by a zero.
 * What this, pnd_abi_version and pnd_build refuse themselves leaves no sentence.
 * A null context gives this thread's last failure that had no context (pnd_open's), a context in
 * use by another thread this thread's refusal. */
PND_API int32_t pnd_message(pnd_context *context, char *text, int64_t capacity);

/* version[0] = PND_ABI_VERSION of the library. The context may be null. */
PND_API int32_t pnd_abi_version(pnd_context *context, int32_t *version);

/* text [capacity] = the library's name and build, such as "cpu v4", cut in the same way. The
 * context may be null. */
PND_API int32_t pnd_build(pnd_context *context, char *text, int64_t capacity);

/* threads[0] = the number of threads in use, of the host. */
PND_API int32_t pnd_threads(pnd_context *context, int32_t *threads);

/* used, peak, limit [1], in bytes: held now (scratch included), the most ever held, the limit. */
PND_API int32_t pnd_memory(pnd_context *context, int64_t *used, int64_t *peak, int64_t *limit);

/* memory[0] = bytes of the device's memory, aligned to 64, content undefined. */
PND_API int32_t pnd_allocate(pnd_context *context, void **memory, int64_t bytes);

/* Releases what pnd_allocate gave; null and foreign pointers are refused. */
PND_API int32_t pnd_release(pnd_context *context, void *memory);

/* Copies from the host to the device, from the device to the host, within the device.
 * to, from [bytes]; they may not overlap. */
PND_API int32_t pnd_upload(pnd_context *context, void *to, const void *from, int64_t bytes);
PND_API int32_t pnd_download(pnd_context *context, void *to, const void *from, int64_t bytes);
PND_API int32_t pnd_copy(pnd_context *context, void *to, const void *from, int64_t bytes);

/* Waits until every earlier call has finished and reports a failure of one of them. */
PND_API int32_t pnd_synchronize(pnd_context *context);

/* stream[0] = the cudaStream_t of the context's calls, so that other work can be put in order with
 * them; null on a CPU library. */
PND_API int32_t pnd_stream(pnd_context *context, void **stream);

/* ---- recorded calls ---------------------------------------------------------------------
 * A CUDA library can record the calls of a step as one graph and launch them together, with the
 * same bits. What is read through pointers is read anew by each launch. A CPU library has nothing
 * to save, a call costs it less than a microsecond: PND_UNSUPPORTED. */

/* From here on calls are recorded and not run. Allocating, releasing, uploading, downloading,
 * synchronising and launching are refused until the recording ends, and so is a call that needs
 * more scratch memory than any before it: run the step once first. */
PND_API int32_t pnd_record(pnd_context *context);

/* Ends the recording: graph[0] is what was recorded, null if the recording had failed. */
PND_API int32_t pnd_recorded(pnd_context *context, void **graph);

/* Runs what was recorded. The graph must be of this context. */
PND_API int32_t pnd_launch(pnd_context *context, void *graph);

/* Releases a graph; null and foreign pointers are refused. Closing the context releases all. */
PND_API int32_t pnd_release_graph(pnd_context *context, void *graph);

/* ---- element by element ----------------------------------------------------------------- */

/* y[i] = value, rounded once to the type, halves to even; any type. For an i32 the rounded value
 * must lie in its range. */
PND_API int32_t pnd_fill(pnd_context *context, int32_t dtype, void *y, int64_t n, double value);

/* y[i] = x[i], rounded once from the type `from` to dtype; both of PND_F32, PND_F64, PND_BF16. */
PND_API int32_t pnd_cast(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                         int32_t from);

/* y[i] = fma(scale, x[i], shift). */
PND_API int32_t pnd_affine(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                           double scale, double shift);

/* y[i] = x[i]^exponent. Exponents -2, -1, -0.5, 0, 0.5, 1, 2, 3 are products, quotients and
 * square roots; others go through exp and log (x > 0). */
PND_API int32_t pnd_power(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n,
                          double exponent);

/* y[i] = exp x[i], log x[i], tanh x[i], 1 / (1 + exp -x[i]); each within 2 ULP over all values,
 * with the usual limits at infinities, zeros and NaN. */
PND_API int32_t pnd_exp(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n);
PND_API int32_t pnd_log(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n);
PND_API int32_t pnd_tanh(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n);
PND_API int32_t pnd_sigmoid(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n);

/* y[o,m,i] = a[o,m,i] (op) b[o,i].  y, a [outer, mid, inner]; b [outer, inner].
 * Equal shapes are mid = 1; a row vector is outer = 1, a column vector inner = 1.
 * maximum: b where a < b, else a, so of a zero and its negative a's (a NaN in either gives NaN).
 * greater: 1 where a > b, else 0. */
PND_API int32_t pnd_add(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                        int64_t outer, int64_t mid, int64_t inner);
PND_API int32_t pnd_sub(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                        int64_t outer, int64_t mid, int64_t inner);
PND_API int32_t pnd_mul(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                        int64_t outer, int64_t mid, int64_t inner);
PND_API int32_t pnd_div(pnd_context *context, int32_t dtype, void *y, const void *a, const void *b,
                        int64_t outer, int64_t mid, int64_t inner);
PND_API int32_t pnd_maximum(pnd_context *context, int32_t dtype, void *y, const void *a,
                            const void *b, int64_t outer, int64_t mid, int64_t inner);
PND_API int32_t pnd_greater(pnd_context *context, int32_t dtype, void *y, const void *a,
                            const void *b, int64_t outer, int64_t mid, int64_t inner);

/* ---- along one axis --------------------------------------------------------------------- */

/* y[o,i] = sum over m of x[o,m,i].  x [outer, mid, inner]; y [outer, inner].
 * Order: element m is in lane m mod 32. */
PND_API int32_t pnd_sum(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                        int64_t mid, int64_t inner);

/* y[o,i] = largest of x[o,m,i] over m; NaN if any is NaN. Among zeros the sign is that of one of
 * them, the same on every build. Shapes as pnd_sum. */
PND_API int32_t pnd_largest(pnd_context *context, int32_t dtype, void *y, const void *x,
                            int64_t outer, int64_t mid, int64_t inner);

/* y[o,m,i] = x[o,i]; any type.  y [outer, mid, inner]; x [outer, inner]. */
PND_API int32_t pnd_broadcast(pnd_context *context, int32_t dtype, void *y, const void *x,
                              int64_t outer, int64_t mid, int64_t inner);

/* y[0] = sum of x[i]^2, each square fused into its lane's sum.  x [n]. */
PND_API int32_t pnd_square_sum(pnd_context *context, int32_t dtype, void *y, const void *x,
                               int64_t n);

/* ---- moving elements (any type) --------------------------------------------------------- */

/* y[o,s,m,f,i] = x[o,f,m,s,i].  x [outer, first, mid, second, inner];
 * y [outer, second, mid, first, inner]. */
PND_API int32_t pnd_swap_axes(pnd_context *context, int32_t dtype, void *y, const void *x,
                              int64_t outer, int64_t first, int64_t mid, int64_t second,
                              int64_t inner);

/* y[o,c,i] = x[o,start+c,i].  x [outer, size, inner]; y [outer, count, inner];
 * 0 <= start, start + count <= size. */
PND_API int32_t pnd_slice(pnd_context *context, int32_t dtype, void *y, const void *x,
                          int64_t outer, int64_t size, int64_t inner, int64_t start, int64_t count);

/* The adjoint of pnd_slice: y[o,start+c,i] = x[o,c,i], zero elsewhere.
 * y [outer, size, inner]; x [outer, count, inner]. */
PND_API int32_t pnd_pad(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t outer,
                        int64_t size, int64_t inner, int64_t start, int64_t count);

/* Writes into y in place: y[o,start[o]+c,i] = x[o,c,i], the rest of y stays.
 * y [outer, size, inner]; x [outer, count, inner]; start [outer] in [0, size - count]. */
PND_API int32_t pnd_put(pnd_context *context, int32_t dtype, void *y, const void *x,
                        const int32_t *start, int64_t outer, int64_t size, int64_t inner,
                        int64_t count);

/* y = a then b along the middle axis.  a [outer, a_size, inner]; b [outer, b_size, inner];
 * y [outer, a_size + b_size, inner]. */
PND_API int32_t pnd_concat(pnd_context *context, int32_t dtype, void *y, const void *a,
                           const void *b, int64_t outer, int64_t a_size, int64_t b_size,
                           int64_t inner);

/* ---- by index ---------------------------------------------------------------------------
 * index holds int32_t. A value outside its range is refused with its place and value. A CUDA
 * library finds it on the device: the next pnd_synchronize or pnd_download refuses. The same holds
 * for target, lengths and step below. */

/* y[n,:] = table[index[n],:]; any type.
 * y [count, cols]; table [rows, cols]; index [count] in [0, rows). */
PND_API int32_t pnd_gather(pnd_context *context, int32_t dtype, void *y, const void *table,
                           const int32_t *index, int64_t count, int64_t rows, int64_t cols);

/* The adjoint of pnd_gather: table[r,:] = sum of x[n,:] over the n with index[n] = r, in the order
 * of n; zero where there is none.  table [rows, cols]; x [count, cols]; index [count]. */
PND_API int32_t pnd_scatter_add(pnd_context *context, int32_t dtype, void *table, const void *x,
                                const int32_t *index, int64_t count, int64_t rows, int64_t cols);

/* y[n,c] = 1 if c = index[n], else 0.  y [count, classes]; index [count] in [-1, classes);
 * -1 gives a row of zeros. */
PND_API int32_t pnd_one_hot(pnd_context *context, int32_t dtype, void *y, const int32_t *index,
                            int64_t count, int64_t classes);

/* ---- random numbers --------------------------------------------------------------------- */

/* The Philox4x32-10 stream: y[4 j + w] = word w of the block with the counter
 * (low 32 bits of first + j, low 32 bits of row, low and high half of step[0]) under the key
 * (low and high half of key). y [n], any n. Source: Salmon et al., SC 2011. */
PND_API int32_t pnd_philox(pnd_context *context, uint32_t *y, const int64_t *step, int64_t n,
                           int64_t first, int64_t row, int64_t key);

/* Uniform numbers in [0, 1) from that stream with first = 0: PND_F32 y[i] = (word i >> 8) 2^-24;
 * PND_F64 y[i] = (word 2i * 2^21 + (word 2i+1 >> 11)) 2^-53.  y [n]. */
PND_API int32_t pnd_uniform(pnd_context *context, int32_t dtype, void *y, const int64_t *step,
                            int64_t n, int64_t row, int64_t key);

/* ---- products --------------------------------------------------------------------------- */

/* y[g,r,c] = sum over k of op(a)[g,r,k] op(b)[g,k,c].  y [batch, rows, cols];
 * a [batch, rows, inner], or [batch, inner, rows] if a_transposed;
 * b [batch, inner, cols], or [batch, cols, inner] if b_transposed.
 * Order: each element is one chain of fused multiply-adds over k, from 0 upwards. PND_BF16: the
 * same chain in f32, rounded once, in the libraries "cpu base" and "cpu v3"; "cpu v4" adds two
 * products to the f32 at a time and takes subnormal numbers for zeros; CUDA's order is the tensor
 * cores'. A CUDA library leaves products of 2^28 multiply-adds and more to cuBLASLt, if it finds
 * libcublasLt.so.13 or .12; the environment's PONDER_CUBLASLT sets another number, or 0: none. */
PND_API int32_t pnd_matmul(pnd_context *context, int32_t dtype, void *y, const void *a,
                           const void *b, int64_t batch, int64_t rows, int64_t cols, int64_t inner,
                           int32_t a_transposed, int32_t b_transposed);

/* ---- normalisation and activation ------------------------------------------------------- */

/* y[r,c] = exp(x[r,c] - max x[r,:]) / sum over c of the same.  x, y [rows, cols].
 * A row of -infinity gives zeros; a NaN fills its row. */
PND_API int32_t pnd_softmax(pnd_context *context, int32_t dtype, void *y, const void *x,
                            int64_t rows, int64_t cols);
/* dx[r,c] = y[r,c] (dy[r,c] - sum over k of dy[r,k] y[r,k]).  All [rows, cols]. */
PND_API int32_t pnd_softmax_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                                     const void *y, int64_t rows, int64_t cols);

/* y[r,c] = (x[r,c] - mean[r]) rstd[r] gain[c] + bias[c], rstd = 1 / sqrt(variance + eps), the
 * variance divided by cols; eps >= 0.  x, y [rows, cols]; gain, bias [cols]; mean, rstd [rows].
 * Source: Ba, Kiros, Hinton, arXiv:1607.06450, eq. 4. */
PND_API int32_t pnd_layer_norm(pnd_context *context, int32_t dtype, void *y, void *mean, void *rstd,
                               const void *x, const void *gain, const void *bias, int64_t rows,
                               int64_t cols, double eps);
/* dgain and dbias sum over rows in chunks of 64 rows, chunk by chunk. */
PND_API int32_t pnd_layer_norm_backward(pnd_context *context, int32_t dtype, void *dx, void *dgain,
                                        void *dbias, const void *dy, const void *x,
                                        const void *gain, const void *mean, const void *rstd,
                                        int64_t rows, int64_t cols);

/* y[r,c] = x[r,c] scale[r] gain[c], scale[r] = 1 / sqrt(mean over c of x[r,c]^2 + eps).
 * eps >= 0; x, y [rows, cols]; gain [cols]; scale [rows].
 * Source: Zhang, Sennrich, arXiv:1910.07467. */
PND_API int32_t pnd_rms_norm(pnd_context *context, int32_t dtype, void *y, void *scale,
                             const void *x, const void *gain, int64_t rows, int64_t cols,
                             double eps);
/* dgain sums over rows as pnd_layer_norm_backward's. */
PND_API int32_t pnd_rms_norm_backward(pnd_context *context, int32_t dtype, void *dx, void *dgain,
                                      const void *dy, const void *x, const void *gain,
                                      const void *scale, int64_t rows, int64_t cols);

/* y = x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))).  Source: Hendrycks, Gimpel,
 * arXiv:1606.08415. */
PND_API int32_t pnd_gelu(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n);
PND_API int32_t pnd_gelu_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                                  const void *x, int64_t n);

/* y = x / (1 + exp -x).  Source: Elfwing, Uchibe, Doya, arXiv:1702.03118. */
PND_API int32_t pnd_silu(pnd_context *context, int32_t dtype, void *y, const void *x, int64_t n);
PND_API int32_t pnd_silu_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                                  const void *x, int64_t n);

/* Rotary positions: with h = head_size / 2 and the angle a = (start + t) base^(-i / h),
 *   y[b,t,n,i] = x[b,t,n,i] cos a - x[b,t,n,i+h] sin a,
 *   y[b,t,n,i+h] = x[b,t,n,i] sin a + x[b,t,n,i+h] cos a,   0 <= i < h.
 * x, y [batch, steps, heads, head_size]; head_size even; |start| + steps <= 2^40;
 * 0 < base <= 2^1000.  Source: Su et al., arXiv:2104.09864.
 * The backward function turns by the opposite angle. */
PND_API int32_t pnd_rotary(pnd_context *context, int32_t dtype, void *y, const void *x,
                           int64_t batch, int64_t steps, int64_t heads, int64_t head_size,
                           int64_t start, double base);
PND_API int32_t pnd_rotary_backward(pnd_context *context, int32_t dtype, void *dx, const void *dy,
                                    int64_t batch, int64_t steps, int64_t heads, int64_t head_size,
                                    int64_t start, double base);

/* ---- cross-entropy with the output product ---------------------------------------------- */

/* loss[r] = lse[r] - logits[r,target[r]], lse[r] = log sum over c of exp logits[r,c], with
 * logits[r,c] = sum over k of x[r,k] weight[c,k], never stored whole. In nats.
 * x [rows, width]; weight [classes, width]; loss, lse [rows]; target [rows] in [-1, classes);
 * target -1 gives loss 0, lse 0 and no gradient, and costs nothing. */
PND_API int32_t pnd_cross_entropy(pnd_context *context, int32_t dtype, void *loss, void *lse,
                                  const void *x, const void *weight, const int32_t *target,
                                  int64_t rows, int64_t classes, int64_t width);
/* With p[r,c] = dloss[r] (exp(logits[r,c] - lse[r]) - [c = target[r]]), 0 where target[r] is -1:
 * dx = p weight, dweight = p^T x.  dloss [rows]. Order of dweight: rows upwards. */
PND_API int32_t pnd_cross_entropy_backward(pnd_context *context, int32_t dtype, void *dx,
                                           void *dweight, const void *dloss, const void *x,
                                           const void *weight, const int32_t *target,
                                           const void *lse, int64_t rows, int64_t classes,
                                           int64_t width);

/* ---- attention -------------------------------------------------------------------------- */

/* With g = h / (heads / kv_heads), s[b,h,i,j] = scale sum over d of q[b,i,h,d] k[b,j,g,d] +
 * mask[b,h,i,j] where key j is visible to query i, -infinity elsewhere; p = softmax of s over j;
 * out[b,i,h,d] = sum over j of p v[b,j,g,d]; lse[b,h,i] = log sum over j of exp s.
 *
 * Visible  Query i stands at key t = i + k_steps - q_steps. Key j is visible if j < lengths[b] and,
 *          where causal is not 0, j <= t; where window is not 0, j > t - window and j < t + window.
 *          causal = 2 counts from the end of the sequence, t = i + lengths[b] - q_steps, as a
 *          store of keys needs it that is longer than what it holds.
 * Packed   With q_starts and k_starts, batch is 1 and holds `segments` sequences one after another:
 *          queries q_starts[n] to q_starts[n+1] see none but keys k_starts[n] to k_starts[n+1], and
 *          i, j and t count from there. Both begin with 0 and never fall; the last are q_steps and
 *          k_steps. A segment may be empty. lengths is then null.
 * Gates    With gated = 1 the mask is a factor: p = mask exp(s - lse), the mask not added,
 *          lse = log sum over j of mask exp s. A gate that is not above 0 hides its key. Its
 *          derivative is that of the factor, exp(s - lse) (dp - sum over k of p dp), the hidden
 *          keys' too, with s - lse taken as at most 64; so a gate of 0 or 1 can be learned
 *          straight through.
 * Nothing  A query that sees no key, or only masks of -infinity (gates of 0), gives zeros and
 *          lse = -infinity. The values of keys that no query sees are never used.
 *
 * q, out [batch, q_steps, heads, head_size]; k, v [batch, k_steps, kv_heads, head_size], heads a
 * multiple of kv_heads; head_size <= 256; lse [batch, heads, q_steps]; mask (nullable) [mask_batch,
 * mask_heads, mask_steps, k_steps], each size 1 (broadcast) or full, and 1 or full without a mask
 * too; lengths (nullable) [batch] in [0, k_steps]; q_starts, k_starts (nullable, or neither)
 * [segments + 1]; segments 0 without them, else at most 2^30; 0 <= window <= 2^40. PND_BF16 too:
 * lse is then f32, an implementation may round p to bf16 before its product with v, and products
 * are pnd_matmul's.
 * Source: Dao et al., arXiv:2205.14135; grouped heads: Ainslie et al., arXiv:2305.13245. */
PND_API int32_t pnd_attention(pnd_context *context, int32_t dtype, void *out, void *lse,
                              const void *q, const void *k, const void *v, const void *mask,
                              const int32_t *lengths, const int32_t *q_starts,
                              const int32_t *k_starts, int64_t batch, int64_t heads,
                              int64_t kv_heads, int64_t q_steps, int64_t k_steps, int64_t head_size,
                              int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
                              int64_t segments, int64_t window, double scale, int32_t causal,
                              int32_t gated);
/* dmask (nullable) has the mask's shape; its broadcast axes are summed upwards: the queries of a
 * head first, then the heads in the order of (batch, head). dmask is 0 where no key is visible.
 * Without a mask, dmask is the adjoint of a mask of zeros (gates of ones) of the stated sizes.
 * dk and dv sum over the heads of a group in their order.
 * PND_BF16 too: p and ds may be rounded to bf16 before their products, which are pnd_matmul's;
 * sums are of f32. */
PND_API int32_t pnd_attention_backward(
    pnd_context *context, int32_t dtype, void *dq, void *dk, void *dv, void *dmask,
    const void *dout, const void *q, const void *k, const void *v, const void *mask,
    const int32_t *lengths, const int32_t *q_starts, const int32_t *k_starts, const void *out,
    const void *lse, int64_t batch, int64_t heads, int64_t kv_heads, int64_t q_steps,
    int64_t k_steps, int64_t head_size, int64_t mask_batch, int64_t mask_heads, int64_t mask_steps,
    int64_t segments, int64_t window, double scale, int32_t causal, int32_t gated);

/* ---- recurrent memory ------------------------------------------------------------------- */

/* The gated recurrent unit over a sequence, h = h[b,t-1,:], with
 *   r = sigmoid(x[b,t,0] + W0 h + c0), z = sigmoid(x[b,t,1] + W1 h + c1), u = W2 h + c2,
 *   n = tanh(x[b,t,2] + r u), hidden[b,t,:] = n + z (h - n).
 * x [batch, steps, 3, width] holds the input's products; weight [3, width, width] (output, input);
 * bias (c) [3, width]; initial [batch, width] is h before the first step;
 * hidden [batch, steps, width]; gates [batch, steps, 4, width] keeps r, z, n, u for the backward
 * function.  Source: Cho et al., arXiv:1406.1078, reset after the product.
 * resets (nullable) [batch, steps]: where one is not 0, the state is cleared before its step:
 * h is 0 whatever it was, and no adjoint passes.
 * lengths (nullable) [batch] in [0, steps]: from step lengths[b] on, the state of sequence b
 * stands still, whatever x and resets hold there, and gates are 0; so hidden[b,steps-1,:] is always
 * the last state. It costs next to nothing.
 * T steps equal T1 steps and T - T1 more from the carried state, bit for bit.
 * PND_BF16 too: bias is then f32, and a state is rounded once, as it is stored and as the next step
 * finds it; sums are of f32, in an order that each build has for itself. */
PND_API int32_t pnd_gru(pnd_context *context, int32_t dtype, void *hidden, void *gates,
                        const void *x, const void *weight, const void *bias, const void *initial,
                        const int32_t *resets, const int32_t *lengths, int64_t batch, int64_t steps,
                        int64_t width);
/* dhidden [batch, steps, width] is the adjoint of every state, the last one included. Where a state
 * stands still, its adjoint passes on, dx is 0, and the step has no part in dweight and dbias.
 * PND_BF16 too: dbias is then f32, and so is the adjoint that passes from step to step; those of
 * the gates are rounded before their products. */
PND_API int32_t pnd_gru_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight,
                                 void *dbias, void *dinitial, const void *dhidden,
                                 const void *weight, const void *initial, const void *hidden,
                                 const void *gates, const int32_t *resets, const int32_t *lengths,
                                 int64_t batch, int64_t steps, int64_t width);

/* The long short-term memory over a sequence, h = h[b,t-1,:] and c = cells[b,t-1,:], with
 *   i = sigmoid(x[b,t,0] + W0 h + c0), f = sigmoid(x[b,t,1] + W1 h + c1),
 *   g = tanh(x[b,t,2] + W2 h + c2), o = sigmoid(x[b,t,3] + W3 h + c3),
 *   cells[b,t,:] = f c + i g, hidden[b,t,:] = o tanh(cells[b,t,:]).
 * x [batch, steps, 4, width] holds the input's products; weight [4, width, width] (output, input);
 * bias (c0 to c3) [4, width]; initial_hidden, initial_cell [batch, width] are h and c before the
 * first step; hidden, cells [batch, steps, width]; gates [batch, steps, 4, width] keeps i, f, g, o
 * for the backward function.
 * resets, lengths (nullable) as pnd_gru's: a reset clears h and c, both stand still from step
 * lengths[b] on. T steps equal T1 steps and T - T1 more from the carried states, bit for bit.
 * PND_BF16 too, as pnd_gru's: bias, initial_cell and cells, which add up, are then f32.
 * Source: Hochreiter, Schmidhuber, Neural Computation 9(8), 1997; the forget gate: Gers,
 * Schmidhuber, Cummins, Neural Computation 12(10), 2000. */
PND_API int32_t pnd_lstm(pnd_context *context, int32_t dtype, void *hidden, void *cells,
                         void *gates, const void *x, const void *weight, const void *bias,
                         const void *initial_hidden, const void *initial_cell,
                         const int32_t *resets, const int32_t *lengths, int64_t batch,
                         int64_t steps, int64_t width);
/* dhidden [batch, steps, width] is the adjoint of every state, dlast_cell (nullable: zeros)
 * [batch, width] that of the cell after the last step; the other cells have none of their own.
 * PND_BF16 too, as pnd_gru_backward's: dbias, dlast_cell, dinitial_cell and the cells are f32. */
PND_API int32_t pnd_lstm_backward(pnd_context *context, int32_t dtype, void *dx, void *dweight,
                                  void *dbias, void *dinitial_hidden, void *dinitial_cell,
                                  const void *dhidden, const void *dlast_cell, const void *weight,
                                  const void *initial_hidden, const void *initial_cell,
                                  const void *hidden, const void *cells, const void *gates,
                                  const int32_t *resets, const int32_t *lengths, int64_t batch,
                                  int64_t steps, int64_t width);

/* Feedback memory: a transformer whose layers all read what every layer found at the steps before.
 * Step t stands at position past + t, where rotary turns as pnd_rotary does. x_0 = x[b,t,:]; with
 * norm(z) = z / sqrt(mean z^2 + eps) times its gain, for each layer l:
 *   y = x_l + attention(rotary(norm(x_l) query[l])) mix[l], or x_l where nothing is remembered;
 *   x_{l+1} = y + gelu(norm(y) wide[l]) narrow[l];
 * and then z = norm(sum over l of share[l] x_l) is remembered:
 *   keys[b,t] = rotary(z key), values[b,t] = z value.
 * attention is pnd_attention's with scale 1 / sqrt(head_size) over the past and the steps before t;
 * where window is not 0, over the last `window` of them.
 *
 * States   states[b,t,l,:] = x_l: x first, what a step found at the top last.
 * Past     The first `past` rows of past_keys and past_values are steps read before; the rows after
 *          them are never used. T steps equal T1 steps and T - T1 more from their keys and values,
 *          bit for bit.
 * Resets   first[b] (null: 0) is the first position of the past that row b reads. Where resets[b,t]
 *          is not 0, it forgets before step t all that it remembered: steps from t on read nothing
 *          of what is before t. Positions count on. Who goes on after a reset at step t of the last
 *          window gives first[b] = past + t of that window.
 * Lengths  Row b's steps from lengths[b] on are not computed: their states, keys and values are 0,
 *          whatever x and resets hold there. Who goes on with such a row resets it at the next
 *          window's first step, as its keys of 0 would be read.
 *
 * states [batch, steps, layers + 1, width]; keys, values [batch, steps, kv_heads, head_size];
 * x [batch, steps, width]; past_keys, past_values (nullable, or neither) [batch, room, kv_heads,
 * head_size], room at least 1 without them too; attention_gain, mlp_gain [layers, width];
 * query [layers, width, heads, head_size]; mix [layers, heads, head_size, width];
 * wide [layers, width, inner]; narrow [layers, inner, width]; share [layers + 1];
 * memory_gain [width]; key, value [width, kv_heads, head_size]; first (nullable) [batch] in
 * [0, past]; resets (nullable) [batch, steps]; lengths (nullable) [batch] in [0, steps]; heads a
 * multiple of kv_heads; head_size even, at most 256; 0 <= past <= room, past 0 without past_keys;
 * steps, layers and past at most 2^40; 0 <= window <= 2^40; eps >= 0; 0 < base <= 2^1000.
 * Order: a product is one chain over its inputs, which starts from what it is added to; the
 * softmax's sum runs in 32 lanes of positions; sums over remembered steps and over l go upwards.
 * Source: Fan et al., arXiv:2002.09402, with rotary positions for the relative ones. */
PND_API int32_t pnd_feedback(pnd_context *context, int32_t dtype, void *states, void *keys,
                             void *values, const void *x, const void *past_keys,
                             const void *past_values, const void *attention_gain, const void *query,
                             const void *mix, const void *mlp_gain, const void *wide,
                             const void *narrow, const void *share, const void *memory_gain,
                             const void *key, const void *value, const int32_t *first,
                             const int32_t *resets, const int32_t *lengths, int64_t batch,
                             int64_t steps, int64_t layers, int64_t width, int64_t inner,
                             int64_t heads, int64_t kv_heads, int64_t head_size, int64_t past,
                             int64_t room, int64_t window, double eps, double base);
/* The adjoints of the inputs, from dstates, that of every state, and dkeys, dvalues (nullable:
 * zeros) [batch, steps, kv_heads, head_size], those of what the steps remembered. dpast_keys and
 * dpast_values are null exactly where past_keys and past_values are, and zero from row `past` on.
 * No adjoint passes a reset. Of steps that are not computed dx is 0, dstates, dkeys and dvalues are
 * not used, and the weights' adjoints get nothing. Who leaves dpast_keys and dpast_values aside
 * truncates back-propagation through time at this call's first step. Each step is computed anew
 * from its states.
 * Order: the adjoint of a remembered step adds up from the last step that read it, of its layers
 * from the top, of the heads of a group upwards; those of weights are chains over (step, batch),
 * the steps from the last in groups of max(1, 256 / batch), upwards inside a group. */
PND_API int32_t pnd_feedback_backward(
    pnd_context *context, int32_t dtype, void *dx, void *dpast_keys, void *dpast_values,
    void *dattention_gain, void *dquery, void *dmix, void *dmlp_gain, void *dwide, void *dnarrow,
    void *dshare, void *dmemory_gain, void *dkey, void *dvalue, const void *dstates,
    const void *dkeys, const void *dvalues, const void *states, const void *keys,
    const void *values, const void *past_keys, const void *past_values, const void *attention_gain,
    const void *query, const void *mix, const void *mlp_gain, const void *wide, const void *narrow,
    const void *share, const void *memory_gain, const void *key, const void *value,
    const int32_t *first, const int32_t *resets, const int32_t *lengths, int64_t batch,
    int64_t steps, int64_t layers, int64_t width, int64_t inner, int64_t heads, int64_t kv_heads,
    int64_t head_size, int64_t past, int64_t room, int64_t window, double eps, double base);

/* ---- reading a memory ------------------------------------------------------------------- */

/* Each query reads the `count` slots whose keys are nearest to it. With the scores
 * s[b,i,m] = scale (sum over c of q[b,i,c] keys[b,m,c]), index[b,i,:] are the slots of the largest
 * scores, falling, of equal scores the lower slot first; p[b,i,j] = softmax over j of those scores;
 * out[b,i,:] = sum over j of p[b,i,j] values[b,index[b,i,j],:].
 *
 * Written  A query never reads the slots from lengths[b,i] on, nor, where start is not -1, those
 *          from start + i on: a sequence that reads what it wrote before. 0 <= start <= 2^40 then.
 * Nothing  A score of NaN or -infinity is never chosen, one of infinity gives p = NaN. Where fewer
 *          than count slots are left, the row ends with index -1 and p 0; a query without any gives
 *          zeros.
 * Order    A score is pnd_matmul's chain over c, then times scale; sums over j go upwards.
 *
 * q [batch, queries, key_size]; keys [batch, slots, key_size]; values [batch, slots, value_size];
 * out [batch, queries, value_size]; p, index [batch, queries, count]; lengths (nullable)
 * [batch, queries] in [0, slots]; count <= 256; slots < 2^31.
 * Source: Rae et al., arXiv:1610.09027, section 3.1. */
PND_API int32_t pnd_top_k_read(pnd_context *context, int32_t dtype, void *out, void *p,
                               int32_t *index, const void *q, const void *keys, const void *values,
                               const int32_t *lengths, int64_t batch, int64_t queries,
                               int64_t slots, int64_t key_size, int64_t value_size, int64_t count,
                               int64_t start, double scale);
/* With dp[b,i,j] = dout[b,i,:] . values[b,index[b,i,j],:] and
 * ds[b,i,j] = scale p[b,i,j] (dp[b,i,j] - sum over k of p[b,i,k] dp[b,i,k]):
 *   dq[b,i,:] = sum over j of ds[b,i,j] keys[b,index[b,i,j],:], j upwards;
 *   dkeys[b,m,:] = sum of ds[b,i,j] q[b,i,:], dvalues[b,m,:] = sum of p[b,i,j] dout[b,i,:] over the
 *   (i, j) with index[b,i,j] = m, upwards; zero where there is none.
 * index [batch, queries, count] in [-1, slots); batch slots < 2^31. */
PND_API int32_t pnd_top_k_read_backward(pnd_context *context, int32_t dtype, void *dq, void *dkeys,
                                        void *dvalues, const void *dout, const void *q,
                                        const void *keys, const void *values, const void *p,
                                        const int32_t *index, int64_t batch, int64_t queries,
                                        int64_t slots, int64_t key_size, int64_t value_size,
                                        int64_t count, double scale);

/* Fast-weight memory: each head of a row of the batch has a state S [keys, values]. Step by step,
 * with D = diag(decay[b,t,h,:]), the identity without decay,
 *   plain     S = D S + k v^T;
 *   delta     with rate: u = (D S)^T k, S = D S + k (rate (v - u))^T;
 *   low rank  with erase and write: u = S^T erase, S = D S + write u^T + k v^T;
 * and with the new S out[b,t,h,:] = scale S^T q.
 *
 * Features    With features = 1, q and k stand for x + 1 where they are above 0, else for exp x.
 * Normalised  With normalised = 1, for the plain kind alone, v has one more column of ones, z in S:
 *             out = scale (S^T q) / (q . z), zeros where q . z is 0.
 * Resets      Where resets[b,t] is not 0, S is cleared before step t, whatever it held.
 * Lengths     Row b's steps from lengths[b] on leave S, give zeros and use none of their inputs.
 * Chunk       0: step by step; T steps equal T1 and T - T1 more from `last`, bit for bit. Else so
 *             many steps at a time, their writes from one triangular system (UT transform), decays
 *             multiplied onwards in time and never divided; the same holds where T1 is a multiple.
 *             A CUDA library takes chunks in PND_BF16 alone, and there 16, 32, 48 or 64 steps of
 *             the plain kind or, without features, of delta, for keys <= 128 and decay_size 1; else
 *             it goes step by step whatever the chunk. There what is not finite in a step may reach
 *             the outputs of the 15 before it, and adjoints of any step of its 64.
 * PND_BF16    too: q, k, v, out and their adjoints are then of bf16, each rounded once; all else,
 *             which adds up or multiplies up over the steps, is of f32, the state among it. Factors
 *             of a chunk's products may be rounded to bf16.
 *
 * q, k [batch, steps, heads, keys]; v, out [batch, steps, heads, values]; keys, values <= 256;
 * decay (nullable) [batch, steps, heads, decay_size], any finite factors, decay_size 1 or keys
 * (without decay too); rate (nullable) [batch, steps, heads]; erase, write (nullable, or neither;
 * not beside rate) [batch, steps, heads, keys]; initial (nullable: zeros) [batch, heads, keys,
 * values + normalised]; last [batch, heads, keys, values + normalised]; resets (nullable) [batch,
 * steps]; lengths (nullable) [batch] in [0, steps]; 0 <= chunk <= 256.
 * Order: S^T x is one chain over the keys. With rate, out adds k . q times the write to what D S
 * gives, with erase write . q times u and k . q times v; these are sums in 32 lanes. The plain kind
 * reads the new S.
 * Source: Katharopoulos et al., arXiv:2006.16236; Yang et al., arXiv:2406.06484, arXiv:2412.06464;
 * low rank: Peng et al., arXiv:2503.14456. */
PND_API int32_t pnd_fast_weights(pnd_context *context, int32_t dtype, void *out, void *last,
                                 const void *q, const void *k, const void *v, const void *decay,
                                 const void *rate, const void *erase, const void *write,
                                 const void *initial, const int32_t *resets, const int32_t *lengths,
                                 int64_t batch, int64_t heads, int64_t steps, int64_t keys,
                                 int64_t values, int64_t decay_size, int64_t chunk, double scale,
                                 int32_t features, int32_t normalised);
/* The adjoints of the inputs; ddecay, drate, derase, dwrite and dinitial are null exactly where
 * these are. dlast (nullable: zeros) [batch, heads, keys, values + normalised] is that of the final
 * state. Step by step from the end, whatever the chunk was; states are computed anew from a few. A
 * CUDA library takes 64 steps at a time of the plain kind in PND_BF16, where it is not normalised,
 * for keys <= 128 and decay_size 1, and keeps the states between them, rounded to bf16. Order: sums
 * over the values in 32 lanes, over the keys one chain; ddecay of size 1 sums those of the keys in
 * 32 lanes. */
PND_API int32_t pnd_fast_weights_backward(
    pnd_context *context, int32_t dtype, void *dq, void *dk, void *dv, void *ddecay, void *drate,
    void *derase, void *dwrite, void *dinitial, const void *dout, const void *dlast, const void *q,
    const void *k, const void *v, const void *decay, const void *rate, const void *erase,
    const void *write, const void *initial, const int32_t *resets, const int32_t *lengths,
    int64_t batch, int64_t heads, int64_t steps, int64_t keys, int64_t values, int64_t decay_size,
    double scale, int32_t features, int32_t normalised);

/* ---- mask sampling ----------------------------------------------------------------------- */

/* How positions are chosen. */
typedef enum pnd_scheme {
  PND_BERNOULLI = 0,
  PND_POISSON = 1,
  PND_GUMBEL = 2,
  PND_SYSTEMATIC = 3,
  PND_CONDITIONAL = 4,
  PND_CANDIDATES = 5
} pnd_scheme;

/* Chooses positions of each row for masked prediction, with their probabilities, weights and the
 * corrupted tokens. A position is eligible if eligible is not 0 there, its token is not negative
 * and its logit is finite: the others are never chosen. With n eligible positions in a row,
 * c = min(n, k), or min(n, floor(rate n + 1/2)) where k is 0; w = exp(max(logit - largest, -80)),
 * largest being that of the row's eligible logits; u in (0, 1) from a random word:
 *
 * BERNOULLI    each position with probability rate, whatever c.
 * POISSON      each with pi = min(1, max(2^-31, c w / sum w)).
 * GUMBEL       the c positions of the smallest times t = -log(1 - u) / w, which is the order of
 *              logit + Gumbel noise; of equal times that of the lower index. pi = 1 - exp(-w t'),
 *              t' being time c of the other positions (time c + 1 of all where chosen, else
 *              time c): given the others' times, that is its probability.
 *              log_probability is that of the positions in the order of their times.
 * SYSTEMATIC   pi = min(1, a w) with sum c, the certain ones first (1 from 1 - 2^-29 on); of the
 *              others those in whose stretch of the running sum of pi a point u, u + 1, .. falls.
 * CONDITIONAL  sets of c positions with probability proportional to the product of their w.
 * CANDIDATES   draws `candidates` uniform sets of c positions and takes one of them with
 *              q = (1 - floor) softmax over sets(sum of log w) + floor / candidates; weight is
 *              1 / (candidates q) for each of its positions: unbiased for the mean over uniform
 *              sets. inclusion is c / n, log_probability is log q.
 *
 * inclusion is the probability pi of each position, 0 where it is not eligible; weight is 1 / pi
 * (but CANDIDATES') where it is chosen, else 0; log_probability is the exact logarithm of the
 * probability of the chosen positions, 0 where there is nothing to choose. c = n chooses all with
 * pi and weight 1 and log_probability 0; all-equal logits are uniform.
 * label is the token where chosen, else -1; corrupted is the token where it is not chosen; where it
 * is, mask_token with probability mask_share, a uniform token below vocabulary with probability
 * random_share, else the token.
 *
 * log_probability (nullable) [rows]; inclusion, weight (nullable) [rows, length];
 * corrupted, label (nullable) [rows, length]; logits (nullable) [rows, length], null for equal
 * ones; tokens [rows, length]; eligible (nullable) [rows, length]; step [1].
 * length and candidates * length <= 2^31; rows <= 2^32; 1 <= candidates <= 2^20;
 * vocabulary <= 2^31; 0 <= mask_token < 2^31; k >= 0; rate, floor, mask_share, random_share and
 * the sum of the last two from 0 to 1.
 * Bits     A word of pnd_philox's stream (row, step, key) belongs to one position of one row, and
 *          probabilities are met in steps of 2^-31. Sums that decide run in 32 lanes or chains:
 *          corrupted and label are equal in every bit on every device. SYSTEMATIC, CONDITIONAL and
 *          CANDIDATES compute in f64 for either dtype.
 * Source: Tille, Sampling Algorithms, 2006; Kool, van Hoof, Welling, arXiv:1903.06059; Chen,
 * Dempster, Liu, Biometrika 81, 1994. */
PND_API int32_t pnd_mask(pnd_context *context, int32_t dtype, void *log_probability,
                         void *inclusion, void *weight, int32_t *corrupted, int32_t *label,
                         const void *logits, const int32_t *tokens, const int32_t *eligible,
                         const int64_t *step, int64_t rows, int64_t length, int64_t vocabulary,
                         int64_t k, int64_t candidates, int64_t mask_token, int64_t key,
                         double rate, double floor, double mask_share, double random_share,
                         int32_t scheme);
/* dlogits = dlog_probability times the derivative of log_probability by the logits, from the same
 * logits, step and scalars and from what pnd_mask wrote; none through the bounds 1, 2^-31 and -80
 * above, nor through BERNOULLI. CONDITIONAL: [chosen] - inclusion.
 * dlogits, inclusion [rows, length]; dlog_probability [rows]; logits [rows, length];
 * label [rows, length]. */
PND_API int32_t pnd_mask_backward(pnd_context *context, int32_t dtype, void *dlogits,
                                  const void *dlog_probability, const void *logits,
                                  const void *inclusion, const int32_t *label, const int64_t *step,
                                  int64_t rows, int64_t length, int64_t k, int64_t candidates,
                                  int64_t key, double rate, double floor, int32_t scheme);

/* ---- optimisers (in place) -------------------------------------------------------------- */

/* One AdamW step in place, with g = scale[0] gradient[i] and t = step[0] >= 1:
 *   first = beta1 first + (1 - beta1) g;  second = beta2 second + (1 - beta2) g^2;
 *   parameter -= rate[0] (first / (1 - beta1^t) / (sqrt(second / (1 - beta2^t)) + eps)
 *                         + decay parameter).
 * 0 <= beta1, beta2 < 1; eps >= 0. parameter, first, second, gradient [n]; rate, scale [1] of the
 * same type; step [1].
 * Source: Loshchilov, Hutter, arXiv:1711.05101. */
PND_API int32_t pnd_adamw(pnd_context *context, int32_t dtype, void *parameter, void *first,
                          void *second, const void *gradient, const void *rate, const int32_t *step,
                          const void *scale, int64_t n, double beta1, double beta2, double eps,
                          double decay);

/* In place: velocity = momentum velocity + scale[0] gradient + decay parameter;
 * parameter -= rate[0] velocity.  parameter, velocity, gradient [n]; rate, scale [1]. */
PND_API int32_t pnd_sgd(pnd_context *context, int32_t dtype, void *parameter, void *velocity,
                        const void *gradient, const void *rate, const void *scale, int64_t n,
                        double momentum, double decay);

#ifdef __cplusplus
}
#endif

#endif
