// SPDX-License-Identifier: Apache-2.0
package ponder.abi;

import java.lang.foreign.MemorySegment;

/**
 * The functions of {@code native/include/ponder.h} that work on memory, under their names in camel
 * case, with their parameters in their order and without the context. The header states what each
 * computes, the shapes, and what is refused; nothing is repeated here, and a test holds the two
 * together.
 *
 * <p>A status other than ok becomes an exception that carries the library's sentence: {@link
 * IllegalArgumentException}, an out-of-memory exception, {@link UnsupportedOperationException} or a
 * failure of the device. A pointer that the header calls nullable takes {@link
 * MemorySegment#NULL}.
 */
public interface Kernels {
  /**
   * Returns the kernels behind a launch. An op takes its launch as a {@code ponder.Launch}, which
   * does not name this interface; every launch that the engine makes is a {@link KernelSource}.
   *
   * @throws ClassCastException if the launch was not made by the engine
   */
  static Kernels of(Object launch) {
    return ((KernelSource) launch).kernels();
  }

  void threads(MemorySegment threads);

  void memory(MemorySegment used, MemorySegment peak, MemorySegment limit);

  void allocate(MemorySegment memory, long bytes);

  void release(MemorySegment memory);

  void upload(MemorySegment to, MemorySegment from, long bytes);

  void download(MemorySegment to, MemorySegment from, long bytes);

  void copy(MemorySegment to, MemorySegment from, long bytes);

  void synchronize();

  void stream(MemorySegment stream);

  void record();

  void recorded(MemorySegment graph);

  void launch(MemorySegment graph);

  void releaseGraph(MemorySegment graph);

  void fill(int dtype, MemorySegment y, long n, double value);

  void cast(int dtype, MemorySegment y, MemorySegment x, long n, int from);

  void affine(int dtype, MemorySegment y, MemorySegment x, long n, double scale, double shift);

  void power(int dtype, MemorySegment y, MemorySegment x, long n, double exponent);

  void exp(int dtype, MemorySegment y, MemorySegment x, long n);

  void log(int dtype, MemorySegment y, MemorySegment x, long n);

  void tanh(int dtype, MemorySegment y, MemorySegment x, long n);

  void sigmoid(int dtype, MemorySegment y, MemorySegment x, long n);

  void add(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner);

  void sub(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner);

  void mul(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner);

  void div(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner);

  void maximum(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner);

  void greater(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long mid,
      long inner);

  void sum(int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner);

  void largest(int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner);

  void broadcast(int dtype, MemorySegment y, MemorySegment x, long outer, long mid, long inner);

  void squareSum(int dtype, MemorySegment y, MemorySegment x, long n);

  void swapAxes(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long first,
      long mid,
      long second,
      long inner);

  void slice(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long size,
      long inner,
      long start,
      long count);

  void pad(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long outer,
      long size,
      long inner,
      long start,
      long count);

  void put(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      MemorySegment start,
      long outer,
      long size,
      long inner,
      long count);

  void concat(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long outer,
      long aSize,
      long bSize,
      long inner);

  void gather(
      int dtype,
      MemorySegment y,
      MemorySegment table,
      MemorySegment index,
      long count,
      long rows,
      long cols);

  void scatterAdd(
      int dtype,
      MemorySegment table,
      MemorySegment x,
      MemorySegment index,
      long count,
      long rows,
      long cols);

  void oneHot(int dtype, MemorySegment y, MemorySegment index, long count, long classes);

  void philox(MemorySegment y, MemorySegment step, long n, long first, long row, long key);

  void uniform(int dtype, MemorySegment y, MemorySegment step, long n, long row, long key);

  void matmul(
      int dtype,
      MemorySegment y,
      MemorySegment a,
      MemorySegment b,
      long batch,
      long rows,
      long cols,
      long inner,
      int aTransposed,
      int bTransposed);

  void softmax(int dtype, MemorySegment y, MemorySegment x, long rows, long cols);

  void softmaxBackward(
      int dtype, MemorySegment dx, MemorySegment dy, MemorySegment y, long rows, long cols);

  void layerNorm(
      int dtype,
      MemorySegment y,
      MemorySegment mean,
      MemorySegment rstd,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment bias,
      long rows,
      long cols,
      double eps);

  void layerNormBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      MemorySegment dbias,
      MemorySegment dy,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment mean,
      MemorySegment rstd,
      long rows,
      long cols);

  void rmsNorm(
      int dtype,
      MemorySegment y,
      MemorySegment scale,
      MemorySegment x,
      MemorySegment gain,
      long rows,
      long cols,
      double eps);

  void rmsNormBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dgain,
      MemorySegment dy,
      MemorySegment x,
      MemorySegment gain,
      MemorySegment scale,
      long rows,
      long cols);

  void gelu(int dtype, MemorySegment y, MemorySegment x, long n);

  void geluBackward(int dtype, MemorySegment dx, MemorySegment dy, MemorySegment x, long n);

  void silu(int dtype, MemorySegment y, MemorySegment x, long n);

  void siluBackward(int dtype, MemorySegment dx, MemorySegment dy, MemorySegment x, long n);

  void rotary(
      int dtype,
      MemorySegment y,
      MemorySegment x,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base);

  void rotaryBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dy,
      long batch,
      long steps,
      long heads,
      long headSize,
      long start,
      double base);

  void crossEntropy(
      int dtype,
      MemorySegment loss,
      MemorySegment lse,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment target,
      long rows,
      long classes,
      long width);

  void crossEntropyBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dloss,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment target,
      MemorySegment lse,
      long rows,
      long classes,
      long width);

  void attention(
      int dtype,
      MemorySegment out,
      MemorySegment lse,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment qStarts,
      MemorySegment kStarts,
      long batch,
      long heads,
      long kvHeads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      long segments,
      long window,
      double scale,
      int causal,
      int gated);

  void attentionBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment dmask,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment mask,
      MemorySegment lengths,
      MemorySegment qStarts,
      MemorySegment kStarts,
      MemorySegment out,
      MemorySegment lse,
      long batch,
      long heads,
      long kvHeads,
      long qSteps,
      long kSteps,
      long headSize,
      long maskBatch,
      long maskHeads,
      long maskSteps,
      long segments,
      long window,
      double scale,
      int causal,
      int gated);

  void gru(
      int dtype,
      MemorySegment hidden,
      MemorySegment gates,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width);

  void gruBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dbias,
      MemorySegment dinitial,
      MemorySegment dhidden,
      MemorySegment weight,
      MemorySegment initial,
      MemorySegment hidden,
      MemorySegment gates,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width);

  void lstm(
      int dtype,
      MemorySegment hidden,
      MemorySegment cells,
      MemorySegment gates,
      MemorySegment x,
      MemorySegment weight,
      MemorySegment bias,
      MemorySegment initialHidden,
      MemorySegment initialCell,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width);

  void lstmBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dweight,
      MemorySegment dbias,
      MemorySegment dinitialHidden,
      MemorySegment dinitialCell,
      MemorySegment dhidden,
      MemorySegment dlastCell,
      MemorySegment weight,
      MemorySegment initialHidden,
      MemorySegment initialCell,
      MemorySegment hidden,
      MemorySegment cells,
      MemorySegment gates,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long width);

  void feedback(
      int dtype,
      MemorySegment states,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment x,
      MemorySegment pastKeys,
      MemorySegment pastValues,
      MemorySegment attentionGain,
      MemorySegment query,
      MemorySegment mix,
      MemorySegment mlpGain,
      MemorySegment wide,
      MemorySegment narrow,
      MemorySegment share,
      MemorySegment memoryGain,
      MemorySegment key,
      MemorySegment value,
      MemorySegment first,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long layers,
      long width,
      long inner,
      long heads,
      long kvHeads,
      long headSize,
      long past,
      long room,
      long window,
      double eps,
      double base);

  void feedbackBackward(
      int dtype,
      MemorySegment dx,
      MemorySegment dpastKeys,
      MemorySegment dpastValues,
      MemorySegment dattentionGain,
      MemorySegment dquery,
      MemorySegment dmix,
      MemorySegment dmlpGain,
      MemorySegment dwide,
      MemorySegment dnarrow,
      MemorySegment dshare,
      MemorySegment dmemoryGain,
      MemorySegment dkey,
      MemorySegment dvalue,
      MemorySegment dstates,
      MemorySegment dkeys,
      MemorySegment dvalues,
      MemorySegment states,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment pastKeys,
      MemorySegment pastValues,
      MemorySegment attentionGain,
      MemorySegment query,
      MemorySegment mix,
      MemorySegment mlpGain,
      MemorySegment wide,
      MemorySegment narrow,
      MemorySegment share,
      MemorySegment memoryGain,
      MemorySegment key,
      MemorySegment value,
      MemorySegment first,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long steps,
      long layers,
      long width,
      long inner,
      long heads,
      long kvHeads,
      long headSize,
      long past,
      long room,
      long window,
      double eps,
      double base);

  void topKRead(
      int dtype,
      MemorySegment out,
      MemorySegment p,
      MemorySegment index,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment lengths,
      long batch,
      long queries,
      long slots,
      long keySize,
      long valueSize,
      long count,
      long start,
      double scale);

  void topKReadBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dkeys,
      MemorySegment dvalues,
      MemorySegment dout,
      MemorySegment q,
      MemorySegment keys,
      MemorySegment values,
      MemorySegment p,
      MemorySegment index,
      long batch,
      long queries,
      long slots,
      long keySize,
      long valueSize,
      long count,
      double scale);

  void fastWeights(
      int dtype,
      MemorySegment out,
      MemorySegment last,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment erase,
      MemorySegment write,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long heads,
      long steps,
      long keys,
      long values,
      long decaySize,
      long chunk,
      double scale,
      int features,
      int normalised);

  void fastWeightsBackward(
      int dtype,
      MemorySegment dq,
      MemorySegment dk,
      MemorySegment dv,
      MemorySegment ddecay,
      MemorySegment drate,
      MemorySegment derase,
      MemorySegment dwrite,
      MemorySegment dinitial,
      MemorySegment dout,
      MemorySegment dlast,
      MemorySegment q,
      MemorySegment k,
      MemorySegment v,
      MemorySegment decay,
      MemorySegment rate,
      MemorySegment erase,
      MemorySegment write,
      MemorySegment initial,
      MemorySegment resets,
      MemorySegment lengths,
      long batch,
      long heads,
      long steps,
      long keys,
      long values,
      long decaySize,
      double scale,
      int features,
      int normalised);

  void mask(
      int dtype,
      MemorySegment logProbability,
      MemorySegment inclusion,
      MemorySegment weight,
      MemorySegment corrupted,
      MemorySegment label,
      MemorySegment logits,
      MemorySegment tokens,
      MemorySegment eligible,
      MemorySegment step,
      long rows,
      long length,
      long vocabulary,
      long k,
      long candidates,
      long maskToken,
      long key,
      double rate,
      double floor,
      double maskShare,
      double randomShare,
      int scheme);

  void maskBackward(
      int dtype,
      MemorySegment dlogits,
      MemorySegment dlogProbability,
      MemorySegment logits,
      MemorySegment inclusion,
      MemorySegment label,
      MemorySegment step,
      long rows,
      long length,
      long k,
      long candidates,
      long key,
      double rate,
      double floor,
      int scheme);

  void adamw(
      int dtype,
      MemorySegment parameter,
      MemorySegment first,
      MemorySegment second,
      MemorySegment gradient,
      MemorySegment rate,
      MemorySegment step,
      MemorySegment scale,
      long n,
      double beta1,
      double beta2,
      double eps,
      double decay);

  void sgd(
      int dtype,
      MemorySegment parameter,
      MemorySegment velocity,
      MemorySegment gradient,
      MemorySegment rate,
      MemorySegment scale,
      long n,
      double momentum,
      double decay);
}
