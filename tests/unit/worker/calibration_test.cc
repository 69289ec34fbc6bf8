#include "worker/calibration.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "comm/thread_communicator.h"
#include "config/resolved_yaml.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

CalibrationOptions small() {
  CalibrationOptions options;
  options.precisions = {ModelConfig::fp32, ModelConfig::bf16};
  options.sizes = {8, 32};
  options.memory_elements = 1 << 12;
  options.latency_repeats = 10;
  options.bytes = {1 << 8, 1 << 14};
  options.link_repeats = 3;
  return options;
}

TEST(LinkFit, FindsTheLineThatTimesLieOn) {
  std::vector<LinkSample> samples;
  for (const double bytes : {0.0, 1e3, 1e5, 1e7}) samples.push_back({bytes, 2e-5 + bytes / 3e9});
  const LinkFit fit = fit_link(samples);
  EXPECT_NEAR(fit.latency, 2e-5, 1e-12);
  EXPECT_NEAR(fit.bandwidth, 3e9, 1);
}

TEST(LinkFit, WeighsShortMessagesAsMuchAsLongOnes) {
  // A long message that takes a tenth more hardly moves the latency.
  const LinkFit fit =
      fit_link({{1e2, 2e-5}, {1e3, 2e-5 + 1e3 / 3e9}, {1e7, 1.1 * (2e-5 + 1e7 / 3e9)}});
  EXPECT_NEAR(fit.latency, 2e-5, 1e-7);
}

TEST(LinkFit, IsNeverNegative) {
  const LinkFit falling = fit_link({{1e3, 3e-5}, {1e5, 1e-5}});
  EXPECT_GT(falling.latency, 0);
  EXPECT_EQ(falling.bandwidth, 0);
  const LinkFit steep = fit_link({{1e3, 1e-7}, {1e6, 9e-3}});
  EXPECT_EQ(steep.latency, 0);
  EXPECT_GT(steep.bandwidth, 0);
}

TEST(LinkFit, OfABarrierIsItsTime) {
  const LinkFit fit = fit_link({{0, 4e-6}, {0, 4e-6}});
  EXPECT_NEAR(fit.latency, 4e-6, 1e-15);
  EXPECT_EQ(fit.bandwidth, 0);
}

TEST(LinkFit, NeedsASample) { EXPECT_THROW_WITH(fit_link({}), InternalError, "!samples.empty()"); }

TEST(Calibration, OfOneRankHasProductsAndMemory) {
  const Mesh mesh = Mesh::single();
  const Hardware hardware = calibrate(mesh, small());
  EXPECT_GT(hardware.flops().fp32(), 0);
  EXPECT_GT(hardware.flops().bf16(), 0);
  EXPECT_EQ(hardware.flops().fp64(), 0);
  ASSERT_EQ(hardware.gemm_efficiency_size(), 4);
  for (const GemmEfficiency& efficiency : hardware.gemm_efficiency()) {
    EXPECT_GT(efficiency.share(), 0);
    EXPECT_LE(efficiency.share(), 1);
  }
  EXPECT_GT(hardware.memory_bandwidth(), 0);
  EXPECT_GT(hardware.memory_bytes(), 1e6);
  EXPECT_GT(hardware.operator_latency(), 0);
  EXPECT_EQ(hardware.links_size(), 0);
}

TEST(Calibration, OfRanksOnOneMachineHasTheirLinkAndIsEqualOnAll) {
  std::vector<std::string> texts(3);
  run_rank_threads(3, [&](Communicator& world) {
    const MeshShape shape = machine_shape(world);
    EXPECT_EQ(shape.tp, 3);
    const Mesh mesh(world, shape);
    CalibrationOptions options = small();
    options.precisions = {ModelConfig::fp32};
    const Hardware hardware = calibrate(mesh, options);
    ASSERT_EQ(hardware.links_size(), 1);
    EXPECT_EQ(hardware.links(0).name(), "one machine");
    EXPECT_EQ(hardware.links(0).ranks_per_domain(), 3U);
    ASSERT_EQ(hardware.links(0).collectives_size(), 4);
    for (const CollectiveSpeed& speed : hardware.links(0).collectives()) {
      EXPECT_GE(speed.latency(), 0);
      EXPECT_GE(speed.bandwidth(), 0);
    }
    texts[static_cast<size_t>(world.rank())] = message_yaml(hardware);
  });
  EXPECT_EQ(texts[0], texts[1]);
  EXPECT_EQ(texts[0], texts[2]);
}

TEST(Calibration, IsWrittenWithoutWhatIsNotKnown) {
  Hardware hardware;
  hardware.set_name("a");
  hardware.mutable_flops()->set_fp32(2e10);
  HardwareLink& link = *hardware.add_links();
  link.set_name("b");
  EXPECT_EQ(message_yaml(hardware),
            "name: \"a\"\nflops:\n  fp32: 20000000000\nlinks:\n  - name: \"b\"\n");
}

}  // namespace
}  // namespace molora
