// SPDX-License-Identifier: Apache-2.0
// Planted faults: each kernel of faults.cu is right as it stands, under every schedule and every
// sanitizer, and its fault is caught where this table says.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

namespace {

// What tells of a fault: the plain run's verdict for one of the seeds, or its bits, which differ
// from seed to seed; a report of AddressSanitizer or ThreadSanitizer.
struct Planted {
  const char *name, *verdict, *address, *race;
  bool again = false;  // a further fault of the kernel before, whose right form has been tried
};
constexpr const char *kNone = nullptr, *kRace = "data race", *kOverflow = "heap-buffer-overflow";
constexpr const char *kBits = "bits";
const Planted kPlanted[] = {
    {"barrier_removed", "NaN", kNone, kRace},
    {"warp_barrier_removed", "NaN", kNone, kRace},
    {"reused_too_early", "wrong", kNone, kRace},
    {"read_before_written", "NaN", kNone, kNone},
    {"divergent_barrier", "the barrier in faults.cu", kNone, kNone},
    {"barriers_in_two_lines", "a barrier, while others wait at that in faults.cu", kNone, kNone},
    {"shuffle_lacks_lanes", "lanes that", kNone, kNone},
    {"wait_without_end", "for what no thread does", kNone, kNone},
    {"store_past_the_end", kNone, kOverflow, kNone},
    {"output_not_written", "NaN", kNone, kNone},
    {"past_shared_memory", kNone, kOverflow, kNone},
    {"copies_not_awaited", "NaN", kNone, kNone},
    {"one_group_too_many_left", "NaN", kNone, kNone},
    {"copied_over_readers", "wrong", kNone, kRace},
    {"wrong_fragment", "wrong", kNone, kNone},
    {"fragments_without_barrier", "NaN", kNone, kRace},
    {"fragments_not_transposed", "wrong", kNone, kNone},
    {"two_writers", kBits, kNone, kRace},
    {"order_of_arrival", kBits, kNone, kNone},
    {"no_grid_barrier", "wrong", kNone, kRace},
    {"round_overwritten", "wrong", kNone, kRace, true},
    {"block_misses_grid_barrier", "others wait at the barrier in faults.cu", kNone, kNone, true},
    {"grid_barriers_in_two_lines", "a barrier, while others wait at that in faults.cu", kNone,
     kNone, true},
    {"grid_barrier_apart", "a launch that is not cooperative", kNone, kNone, true},
    {"too_many_together", "too many blocks", kNone, kNone},
    {"no_bytes_expected", "a phase ends that does not expect the bytes", kNone, kNone},
    {"too_few_bytes", "a copy of more bytes than its phase expects", kNone, kNone, true},
    {"too_many_bytes", "bytes that no copy brings", kNone, kNone, true},
    {"no_arrival", "deadlock: block (0, 0, 0), thread (0, 0, 0) waits in ring.cuh", kNone, kNone,
     true},
    {"wrong_parity", "a block ends before this is done: ring.cuh", kNone, kRace, true},
    {"stage_not_awaited", "a block ends before this is done: ring.cuh", kNone, kRace, true},
    {"stage_reused_too_early", "wrong", kNone, kRace, true},
    {"stage_released_too_early", "wrong", kNone, kRace, true},
    {"sums_read_early", "NaN", kNone, kNone, true},
    {"sums_written_early", "sums that are written while", kNone, kNone, true},
    {"no_register_fence", "a product without fence_registers before it", kNone, kNone, true},
    {"other_swizzle", "wrong", kNone, kNone, true},
    {"no_fence_after_init", "written after the last fence_async", kNone, kNone, true},
    {"no_fence_before_product", "written after the last fence_async", kNone, kRace, true},
    {"no_fence_before_store", "written after the last fence_async", kNone, kNone, true},
    {"store_not_awaited", "a thread ends before this is done", kNone, kNone, true},
    {"warp_missing", "for the other warps of its warpgroup", kNone, kNone, true},
    {"one_warp_takes_registers", "for the other warps of its warpgroup", kNone, kNone, true},
    {"no_mbarrier", "an mbarrier that is not initialised", kNone, kNone, true},
    {"box_misaligned", "a box that is not aligned", kNone, kNone, true},
    {"layout_none", "wrong", kNone, kNone},
    {"layout_none_turned", "wrong", kNone, kNone},
    {"layout_32", "wrong", kNone, kNone},
    {"layout_32_turned", "wrong", kNone, kNone},
    {"layout_64", "wrong", kNone, kNone},
    {"layout_64_turned", "wrong", kNone, kNone},
    {"layout_128_turned", "wrong", kNone, kNone},
    {"layout_registers", "wrong", kNone, kNone},
    {"stores_still_read", "written after the last fence_async", kNone, kNone},
    {"tensor_misaligned", "a stride is a multiple of 16 bytes", kNone, kNone},
    {"part_waits_forever", "for others at a barrier", kNone, kNone},
    {"part_arrives_first", kNone, kNone, kRace, true},
};

struct Record {
  std::string output;
  bool ended_well = false;

  // The bits and the verdict of each seed.
  std::set<std::string> bits;
  std::vector<std::string> verdicts;
};

Record play(const char *program, const Planted &planted, const char *version) {
  Record result;
  const std::string command =
      std::string(program) + " " + planted.name + " " + version + " 0 1 2 3 4 2>&1";
  std::FILE *pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return result;
  std::array<char, 4096> part;
  for (size_t n; (n = std::fread(part.data(), 1, part.size(), pipe)) > 0;) {
    result.output.append(part.data(), n);
  }
  result.ended_well = pclose(pipe) == 0;
  std::istringstream lines(result.output);
  for (std::string line; std::getline(lines, line);) {
    if (line.size() < 10 || line[8] != ' ') continue;
    result.bits.insert(line.substr(0, 8));
    result.verdicts.push_back(line.substr(9));
  }
  return result;
}

class Kernels : public testing::TestWithParam<Planted> {};
class Faults : public testing::TestWithParam<Planted> {};

TEST_P(Kernels, areRightUnderEverySchedule) {
  for (const char *program : {PLAIN, ADDRESS, RACES}) {
    const Record right = play(program, GetParam(), "right");
    EXPECT_TRUE(right.ended_well) << program << ": " << right.output;
    EXPECT_EQ(std::vector<std::string>(5, "right"), right.verdicts) << right.output;
    EXPECT_EQ(1u, right.bits.size()) << right.output;
  }
}

TEST_P(Faults, theFaultIsCaught) {
  const Planted &planted = GetParam();
  if (planted.verdict != kNone) {
    const Record faulty = play(PLAIN, planted, "faulty");
    EXPECT_TRUE(faulty.ended_well) << faulty.output;
    bool caught = planted.verdict == kBits && faulty.bits.size() > 1;
    for (const std::string &verdict : faulty.verdicts) {
      caught = caught || verdict.find(planted.verdict) != std::string::npos;
    }
    EXPECT_TRUE(caught) << faulty.output;
  }
  if (planted.address != kNone) {
    const Record faulty = play(ADDRESS, planted, "faulty");
    EXPECT_FALSE(faulty.ended_well) << faulty.output;
    EXPECT_NE(std::string::npos, faulty.output.find(planted.address)) << faulty.output;
  }
  if (planted.race != kNone) {
    const Record faulty = play(RACES, planted, "faulty");
    EXPECT_FALSE(faulty.ended_well) << faulty.output;
    EXPECT_NE(std::string::npos, faulty.output.find(planted.race)) << faulty.output;
  }
}

std::string name_of(const testing::TestParamInfo<Planted> &info) { return info.param.name; }

std::vector<Planted> kernels() {
  std::vector<Planted> some;
  for (const Planted &planted : kPlanted) {
    if (!planted.again) some.push_back(planted);
  }
  return some;
}

INSTANTIATE_TEST_SUITE_P(Right, Kernels, testing::ValuesIn(kernels()), name_of);
INSTANTIATE_TEST_SUITE_P(Planted, Faults, testing::ValuesIn(kPlanted), name_of);

}  // namespace

int main(int argc, char **argv) {
  testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}
