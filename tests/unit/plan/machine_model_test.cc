#include "plan/machine_model.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "config/hardware.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

// Round numbers; 4 ranks on a near link, all on a far one.
MachineModel machine(const std::string& more = "") {
  return {parse_hardware(R"(name: round
flops: {fp32: 1.0e+12}
memory_bandwidth: 1.0e+10
memory_bytes: 1.0e+9
gemm_efficiency:
  - {precision: fp32, size: 256, share: 1.0}
  - {precision: fp32, size: 16, share: 0.5}
  - {precision: bf16, size: 16, share: 0.1}
links:
  - name: near
    ranks_per_domain: 4
    bandwidth: 1.0e+9
    latency: 1.0e-3
)" + more,
                         "test"),
          ModelConfig::fp32};
}

constexpr char kFar[] = "  - {name: far, bandwidth: 1.0e+8, latency: 1.0e-2}\n";

TEST(MachineModel, InterpolatesTheShareByTheSmallestSize) {
  const double flops = 2 * 1024.0 * 1024;
  EXPECT_DOUBLE_EQ(machine().arithmetic_seconds(flops, 256), flops / 1e12);
  EXPECT_DOUBLE_EQ(machine().arithmetic_seconds(flops, 4096), flops / 1e12);
  EXPECT_DOUBLE_EQ(machine().arithmetic_seconds(flops, 16), flops / 0.5e12);
  EXPECT_DOUBLE_EQ(machine().arithmetic_seconds(flops, 1), flops / 0.5e12);
  EXPECT_DOUBLE_EQ(machine().arithmetic_seconds(flops, 64), flops / 0.75e12) << "half way";
  EXPECT_DOUBLE_EQ(machine().product_seconds({8192, 8192, 8192}), 2 * 0x1p39 / 1e12);
}

TEST(MachineModel, TakesNoLessThanReadingTheFactors) {
  EXPECT_DOUBLE_EQ(machine().product_seconds({1, 1000, 1000}), (1000 + 1e6 + 1000) * 4 / 1e10);
  EXPECT_EQ(machine().product_seconds({0, 1000, 1000}), 0);
}

TEST(MachineModel, SendsOverTheNearestLinkThatConnectsTheGroup) {
  const MachineModel both = machine(kFar);
  EXPECT_EQ(both.links_of({4, 1}), "near");
  EXPECT_DOUBLE_EQ(both.collective_seconds(CollectiveKind::kAllGather, {4, 1}, 2, 1e6),
                   2e-3 + 1e-3);
  EXPECT_EQ(both.links_of({2, 4}), "far") << "one rank of each domain";
  EXPECT_DOUBLE_EQ(both.collective_seconds(CollectiveKind::kAllGather, {2, 4}, 1, 1e6),
                   1e-2 + 1e-2);
  EXPECT_EQ(both.collective_seconds(CollectiveKind::kAllGather, {1, 1}, 1, 0), 0);
}

TEST(MachineModel, SplitsWhatAWideGroupSendsOverBothLinks) {
  const MachineModel both = machine(kFar);
  EXPECT_EQ(both.links_of({8, 1}), "near and far");
  // 3 of the 7 others are near.
  EXPECT_DOUBLE_EQ(both.collective_seconds(CollectiveKind::kAllToAll, {8, 1}, 1, 7e6),
                   1e-3 + 1e-2 + 4e6 / 1e8);
}

TEST(MachineModel, TakesTheFiguresOfACollectiveThatIsKnownBetter) {
  const MachineModel known =
      machine("    collectives: [{kind: all_to_all, latency: 0.5, bandwidth: 2.0e+9}]\n");
  EXPECT_DOUBLE_EQ(known.collective_seconds(CollectiveKind::kAllToAll, {4, 1}, 1, 2e9), 1.5);
  EXPECT_DOUBLE_EQ(known.collective_seconds(CollectiveKind::kAllGather, {4, 1}, 1, 2e9), 2.001);
}

TEST(MachineModel, RefusesWhatItHasNoFigureFor) {
  EXPECT_THROW_WITH(machine().collective_seconds(CollectiveKind::kAllToAll, {8, 1}, 1, 1),
                    ConfigError,
                    "no link of 'round' connects 8 ranks; say what lies between machines: --link "
                    "nvlink+ib400");
  EXPECT_THROW_WITH(
      MachineModel(parse_hardware("name: x\nflops: {fp32: 1}", "x"), ModelConfig::bf16),
      ConfigError,
      "'x' has no flops for bf16 (it has: fp32); set model.precision to one that it "
      "has, or add the figure to its file");
}

TEST(RankGroups, LieAsTheMeshDoes) {
  const MeshShape mesh = mesh_shape(16, 2, 4);
  const auto group = [&](Axis axis) {
    const RankGroup of = group_of_axis(mesh, axis);
    return std::pair(of.size, of.stride);
  };
  EXPECT_EQ(group(Axis::kAll), std::pair(16, 1));
  EXPECT_EQ(group(Axis::kTensor), std::pair(2, 1));
  EXPECT_EQ(group(Axis::kData), std::pair(8, 2));
  EXPECT_EQ(group(Axis::kExpert), std::pair(4, 1));
  EXPECT_EQ(group(Axis::kExpertData), std::pair(4, 4));
}

}  // namespace
}  // namespace molora
