#include "plan/layout.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/config_faults.h"

namespace molora {
namespace {

using testing::config_from;

// 32 heads of 8 key-value heads, an MLP of 96 columns.
Architecture model() {
  Architecture architecture;
  architecture.hidden_size = 128;
  architecture.intermediate_size = 96;
  architecture.num_heads = 32;
  architecture.num_kv_heads = 8;
  architecture.head_dim = 4;
  return architecture;
}

MeshShape layout(const std::vector<std::string>& overrides, int world) {
  const RunConfig config = config_from("", overrides);
  return check_layout(config.parallel(), config.adapter(), model(), world);
}

std::string fault(const std::vector<std::string>& overrides, int world) {
  try {
    layout(overrides, world);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return {};
}

TEST(Layout, GivesTheMesh) {
  EXPECT_EQ(layout({}, 1), mesh_shape(1, 1, 1));
  EXPECT_EQ(layout({}, 7), mesh_shape(7, 1, 1));
  EXPECT_EQ(layout({"parallel.tensor_parallel=4", "parallel.expert_parallel=8"}, 8),
            mesh_shape(8, 4, 8));
}

TEST(Layout, CopiesKeyValueHeadsToSeveralRanks) {
  EXPECT_EQ(layout({"parallel.tensor_parallel=8"}, 8).kv_replicas, 1);
  EXPECT_EQ(layout({"parallel.tensor_parallel=16"}, 32), mesh_shape(32, 16, 1, 2));
  EXPECT_EQ(layout({"parallel.tensor_parallel=32"}, 32).kv_replicas, 4);
}

TEST(Layout, SaysEverythingThatIsWrongAndWhatWouldWork) {
  EXPECT_EQ(fault({"parallel.tensor_parallel=3", "parallel.expert_parallel=5"}, 4),
            "this model cannot be laid out on 4 ranks as asked:\n"
            "  parallel.tensor_parallel 3: 4 ranks cannot be shared out in groups of 3, and 32 "
            "attention heads cannot be split in 3, and 8 key-value heads can neither be split in 3 "
            "nor each be held by equally many of 3 ranks; 1, 2 or 4 would work\n"
            "  parallel.expert_parallel 5: 4 ranks cannot be shared out in groups of 5; 1, 2 or 4 "
            "would work");
}

TEST(Layout, OffersOnlyWhatTheWholeModelAllows) {
  // 64 divides neither the heads nor the MLP's 96 columns; 12 divides the columns alone.
  EXPECT_EQ(fault({"parallel.tensor_parallel=64"}, 64),
            "this model cannot be laid out on 64 ranks as asked:\n"
            "  parallel.tensor_parallel 64: 32 attention heads cannot be split in 64, and 96 "
            "columns of the MLP (intermediate_size) cannot be split in 64; 1, 2, 4, 8, 16 or 32 "
            "would work");
  EXPECT_EQ(fault({"parallel.tensor_parallel=12"}, 24),
            "this model cannot be laid out on 24 ranks as asked:\n"
            "  parallel.tensor_parallel 12: 32 attention heads cannot be split in 12, and 8 "
            "key-value heads can neither be split in 12 nor each be held by equally many of 12 "
            "ranks; 1, 2, 4 or 8 would work");
}

TEST(Layout, OffersOneWhenThereIsOneRank) {
  EXPECT_EQ(fault({"parallel.tensor_parallel=2", "parallel.expert_parallel=2"}, 1),
            "this model cannot be laid out on 1 rank as asked:\n"
            "  parallel.tensor_parallel 2: 1 rank cannot be shared out in groups of 2; 1 would "
            "work\n"
            "  parallel.expert_parallel 2: 1 rank cannot be shared out in groups of 2; 1 would "
            "work");
}

// The schema's own check lets no such configuration through; a program that builds one is told.
TEST(Layout, SharesOutTheExpertsOfTheModesThatAreAskedFor) {
  RunConfig config = config_from("adapter: {num_experts: 6}");
  ParallelConfig& parallel = *config.mutable_parallel();
  parallel.set_tensor_parallel(4);
  parallel.set_expert_parallel(4);
  const auto message = [&] {
    try {
      check_layout(parallel, config.adapter(), model(), 4);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message(), "");
  parallel.set_exchange(ParallelConfig::rank);
  EXPECT_EQ(message(),
            "this model cannot be laid out on 4 ranks as asked:\n"
            "  parallel.tensor_parallel 4: 6 experts (exchange: rank) cannot be split in 4; 1 or 2 "
            "would work");
  for (const auto mode : {ParallelConfig::tokens, ParallelConfig::gather}) {
    parallel.set_exchange(mode);
    EXPECT_EQ(message(),
              "this model cannot be laid out on 4 ranks as asked:\n"
              "  parallel.expert_parallel 4: 6 experts (exchange: tokens or gather) cannot be "
              "split in 4; 1 or 2 would work");
  }
  // Plain LoRA has no experts to share out.
  TargetsConfig& targets = *config.mutable_adapter()->mutable_targets();
  targets.set_gate_proj(TargetsConfig::lora);
  targets.set_up_proj(TargetsConfig::lora);
  targets.set_down_proj(TargetsConfig::lora);
  EXPECT_EQ(message(), "");
}

TEST(Layout, RefusesNoRanksAtAll) {
  const RunConfig config = config_from("");
  EXPECT_THROW(check_layout(config.parallel(), config.adapter(), model(), 0), InternalError);
}

TEST(AskedModes, FollowTheConfigurationAndReplicateWhatHasNoExperts) {
  const RunConfig config =
      config_from("", {"parallel.exchange=gather", "parallel.exchange_by_group.down=auto"});
  const auto modes = asked_modes(config.parallel(), config.adapter());
  EXPECT_EQ(modes[0], ExchangeMode::kReplicate);
  EXPECT_EQ(modes[1], ExchangeMode::kReplicate);
  EXPECT_EQ(modes[2], ExchangeMode::kGather);
  EXPECT_EQ(modes[3], std::nullopt);
}

TEST(AskedModes, KnowEveryName) {
  const std::pair<const char*, ExchangeMode> modes[] = {{"tokens", ExchangeMode::kTokens},
                                                        {"rank", ExchangeMode::kRank},
                                                        {"gather", ExchangeMode::kGather},
                                                        {"replicate", ExchangeMode::kReplicate}};
  for (const auto& [name, mode] : modes) {
    const RunConfig config = config_from("", {std::string("parallel.exchange=") + name});
    EXPECT_EQ(asked_modes(config.parallel(), config.adapter())[2], mode) << name;
  }
}

}  // namespace
}  // namespace molora
