// SPDX-License-Identifier: Apache-2.0
// hopper_faults: the instructions of hopper.cuh on the simulator, right and with planted faults.
#include "faults.h"
#include "ring_case.cuh"

namespace {

// ---- the ring -----------------------------------------------------------------------------------

template <class R, Fault kFault>
Outcome ring() {
  const RingCase<R> product;
  const Array<uint16_t> a(product.a), b(product.b);
  const Array<float> c(product.want.size());
  Caller caller{};
  Call call(&caller, "ring");
  TensorMap maps[3];
  if (product.describe(call, maps, c.data(), a.data(), b.data()) != PND_OK) {
    return {caller.message, {}, {}};
  }
  const auto error =
      Launcher().run(ring_kernel<R, kFault>, product.kBlocks, product.kThreads,
                     R::kShared / sizeof(float), maps[0], maps[1], maps[2], product.kSteps);
  return {error, c.values(), product.want};
}
using Usual = Ring<64, Swizzle::Bytes128, Major::K, Major::K>;
template <Fault kFault, class R = Usual>
constexpr Case kRing = {ring<R, Fault::None>, ring<R, kFault>};

// A layout, and its descriptors' strides exchanged.
template <int kColumns, Swizzle kSwizzle, Major kA, Major kB, bool kInRegisters = false>
constexpr Case kLayout =
    kRing<Fault::StridesExchanged, Ring<kColumns, kSwizzle, kA, kB, kInRegisters>>;

// ---- boxes and rows -----------------------------------------------------------------------------

// A box of 4 dimensions, its first plane outside of the tensor, stored as one of 3; and a row.
// Fault: shared memory is written while the stores still read it.
template <bool kFaulty>
__global__ void boxes_kernel(const __grid_constant__ TensorMap to,
                             const __grid_constant__ TensorMap from, float *row_to,
                             const float *row_from) {
  constexpr unsigned kBox = 2 * 3 * 1 * 8, kRow = 32;
  float *shared = shared_memory<float>(), *row = shared + 64;
  auto *loaded = reinterpret_cast<Mbarrier *>(row + kRow);
  const unsigned lane = threadIdx.x;
  if (lane == 0) {
    init_mbarrier(loaded, 1);
    fence_async();
    arrive_expecting(loaded, (kBox + kRow) * sizeof(float));
    const int at[4] = {8, 1, 0, -1};
    load_box(shared, from, at, loaded);
    load_bulk(row, row_from, kRow * sizeof(float), loaded);
  }
  __syncwarp();
  await_phase(loaded, 0);
  if (lane == 0) {
    const int at[3] = {0, 0, 0};
    store_box(to, at, shared);
    store_bulk(row_to, row, kRow * sizeof(float));
    commit_stores();
    if constexpr (!kFaulty) await_store_reads<0>();
  }
  __syncwarp();
  row[lane] = 0;
  __syncwarp();
  if (lane == 0) {
    end_mbarrier(loaded);
    await_stores<0>();
  }
}
template <bool kFaulty>
Outcome stores_still_read() {
  const auto x = counting(2 * 2 * 3 * 16);
  const Array<float> in(x), out(2 * 3 * 8 + 32);
  Caller caller{};
  Call call(&caller, "boxes");
  TensorMap from, to;
  make_tensor_map(call, &from,
                  {in.data(), 4, 4, {16, 3, 2, 2}, {0, 64, 192, 384}, {8, 3, 1, 2}, Swizzle::None});
  make_tensor_map(call, &to, {out.data(), 4, 3, {8, 3, 2}, {0, 32, 96}, {8, 3, 2}, Swizzle::None});
  if (call.refused()) return {caller.message, {}, {}};
  const auto error = Launcher().run(boxes_kernel<kFaulty>, 1, 32, 64 + 32 + 2, to, from,
                                    out.data() + 48, in.data());
  std::vector<float> want(48);
  // Row 3 of 1, 2, 3 is outside, as is the plane before the first.
  for (size_t r = 0; r < 2; ++r) {
    for (size_t i = 0; i < 8; ++i) want[24 + r * 8 + i] = x[(r + 1) * 16 + 8 + i];
  }
  want.insert(want.end(), x.begin(), x.begin() + 32);
  return {error, out.values(), want};
}

// Fault: rows of 100 elements, of which every second is not aligned to 16 bytes.
template <bool kFaulty>
Outcome tensor_misaligned() {
  const Array<float> x(counting(1));
  Caller caller{};
  Call call(&caller, "boxes");
  TensorMap map;
  make_tensor_map(call, &map,
                  {x.data(), 2, 2, {100, 8}, {0, kFaulty ? 200 : 208}, {64, 8}, Swizzle::Bytes128});
  return {caller.message, x.values(), {1}};
}

// ---- parts of a block ---------------------------------------------------------------------------

// Two warps of three exchange their elements. Faults: one waits for those who never come; one says
// that it has written, and writes then.
enum class Part { Right, NobodyArrives, ArrivesFirst };
template <Part kPart>
__global__ void parts_kernel(float *y, const float *x) {
  float *shared = shared_memory<float>();
  const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  if (warp == 1) {
    if (kPart == Part::ArrivesFirst) arrive_named(1, 64);
    shared[lane] = x[lane];
    if (kPart == Part::Right) arrive_named(1, 64);
  } else if (warp == 0) {
    sync_named(1, 64);
    y[lane] = shared[31 - lane];
  }
}
template <Part kPart>
Outcome parts() {
  const auto x = counting(32);
  const Array<float> in(x), out(32);
  const auto error = Launcher().run(parts_kernel<kPart>, 1, 96, 32, out.data(), in.data());
  return {error, out.values(), {x.rbegin(), x.rend()}};
}

}  // namespace

const std::map<std::string, Case> kHopperCases = {
    {"no_bytes_expected", kRing<Fault::NoBytesExpected>},
    {"too_few_bytes", kRing<Fault::TooFewBytes>},
    {"too_many_bytes", kRing<Fault::TooManyBytes>},
    {"no_arrival", kRing<Fault::NoArrival>},
    {"wrong_parity", kRing<Fault::WrongParity>},
    {"stage_not_awaited", kRing<Fault::StageNotAwaited>},
    {"stage_reused_too_early", kRing<Fault::ReusedTooEarly>},
    {"stage_released_too_early", kRing<Fault::ReleasedTooEarly>},
    {"sums_read_early", kRing<Fault::SumsReadEarly>},
    {"sums_written_early", kRing<Fault::SumsWrittenEarly>},
    {"no_register_fence", kRing<Fault::NoRegisterFence>},
    {"other_swizzle", kRing<Fault::OtherSwizzle>},
    {"no_fence_after_init", kRing<Fault::NoFenceAfterInit>},
    {"no_fence_before_product", kRing<Fault::NoFenceBeforeProduct>},
    {"no_fence_before_store", kRing<Fault::NoFenceBeforeStore>},
    {"store_not_awaited", kRing<Fault::StoreNotAwaited>},
    {"warp_missing", kRing<Fault::MissingWarp>},
    {"one_warp_takes_registers", kRing<Fault::OneWarpTakesRegisters>},
    {"no_mbarrier", kRing<Fault::NoMbarrier>},
    {"box_misaligned", kRing<Fault::Misaligned>},
    {"layout_none", kLayout<64, Swizzle::None, Major::K, Major::K>},
    {"layout_none_turned", kLayout<64, Swizzle::None, Major::Other, Major::Other>},
    {"layout_32", kRing<Fault::OtherSwizzle, Ring<64, Swizzle::Bytes32, Major::K, Major::K>>},
    {"layout_32_turned", kLayout<64, Swizzle::Bytes32, Major::Other, Major::Other>},
    {"layout_64", kRing<Fault::OtherSwizzle, Ring<64, Swizzle::Bytes64, Major::K, Major::Other>>},
    {"layout_64_turned", kLayout<64, Swizzle::Bytes64, Major::Other, Major::Other>},
    {"layout_128_turned", kLayout<128, Swizzle::Bytes128, Major::Other, Major::Other>},
    {"layout_registers", kLayout<256, Swizzle::Bytes64, Major::K, Major::Other, true>},
    {"stores_still_read", {stores_still_read<false>, stores_still_read<true>}},
    {"tensor_misaligned", {tensor_misaligned<false>, tensor_misaligned<true>}},
    {"part_waits_forever", {parts<Part::Right>, parts<Part::NobodyArrives>}},
    {"part_arrives_first", {parts<Part::Right>, parts<Part::ArrivesFirst>}},
};
