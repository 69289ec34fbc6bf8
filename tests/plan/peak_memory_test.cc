// The memory that the planner predicts against what tensors take in training: two steps of a random
// model in which tensors dominate, on rank threads.
#include "plan/peak_memory.h"

#include <algorithm>
#include <cstdio>

#include <ATen/Parallel.h>

#include "kernels/kernel_choice.h"
#include "support/temp_folder.h"
#include "support/thread_memory.h"
#include "support/tiny_model.h"
#include "support/training_run.h"

namespace molora {
namespace {

constexpr double kTolerance = 0.05;

struct Case {
  at::ScalarType type = at::kFloat;
  int64_t rows = 2;  // of a micro-step
  int64_t length = 256;
  int64_t micro_steps = 1;
  uint32_t num_experts = 8;
  TrainConfig::Recompute recompute = TrainConfig::none;
  int tp = 1;
  bool is_sequence_parallel = false;
  ExchangeMode mode = ExchangeMode::kReplicate;
  double dropout = 0.0;
};

std::string text_of(const Case& of) {
  return fmt::format(
      "{}, {} x {} tokens, {} micro-steps, {} experts, recompute {}, tp {}{}, {}, "
      "dropout {}",
      c10::toString(of.type), of.rows, of.length, of.micro_steps, of.num_experts,
      TrainConfig::Recompute_Name(of.recompute), of.tp, of.is_sequence_parallel ? " sp" : "",
      exchange_mode_name(of.mode), of.dropout);
}

// Full rows of one sequence, every token supervised.
std::vector<TrainRow> full_rows(const Case& of, int64_t step, int32_t vocab) {
  std::vector<TrainRow> rows;
  for (int64_t r = 0; r < of.rows * of.micro_steps; ++r) {
    TrainSequence sequence;
    sequence.sample = step * 1000 + r;
    for (int64_t t = 0; t < of.length; ++t) {
      const auto index = static_cast<uint64_t>(sequence.sample * of.length + t);
      sequence.ids.push_back(
          static_cast<int32_t>(philox_below(3, index, static_cast<uint64_t>(vocab))));
      sequence.supervised.push_back(1);
    }
    rows.push_back({sequence});
  }
  return rows;
}

class PeakMemoryTest : public ::testing::Test {
 protected:
  PeakMemoryTest() {
    choose_kernels(KernelChoice::kHost);  // as the program does (device.kernels auto)
    auto config = testing::tiny_config();
    config["hidden_size"] = 512;
    config["intermediate_size"] = 1408;
    config["num_hidden_layers"] = 8;
    config["num_attention_heads"] = 8;
    config["num_key_value_heads"] = 4;
    config["vocab_size"] = 4096;
    config["max_position_embeddings"] = 4096;
    testing::write_tiny_model(folder_.path(), config);
    architecture_ = read_architecture(folder_.path(), {});
  }

  static RunConfig config_of(const Case& of) {
    RunConfig config;
    config.mutable_adapter()->set_num_experts(of.num_experts);
    config.mutable_adapter()->set_experts_per_token(std::min(2U, of.num_experts));
    config.mutable_adapter()->set_lora_dropout(of.dropout);
    config.mutable_model()->set_precision(of.type == at::kBFloat16 ? ModelConfig::bf16
                                                                   : ModelConfig::fp32);
    config.mutable_data()->set_max_length(static_cast<uint32_t>(of.length));
    TrainConfig& train = *config.mutable_train();
    train.set_global_batch_size(static_cast<uint32_t>(of.rows * of.micro_steps));
    train.set_micro_batch_size(static_cast<uint32_t>(of.rows));
    train.set_activation_checkpointing(of.recompute);
    train.set_spike_factor(0);  // no step twice
    config.mutable_parallel()->set_sequence_parallel(of.is_sequence_parallel);
    return config;
  }

  RankMemory plan_of(const Case& of) const {
    PlanInput input = plan_input(config_of(of), architecture_, mesh_shape(of.tp, of.tp, 1));
    input.supervised = input.tokens - of.rows;  // nothing predicts the first token of a row
    return peak_memory(input, all_groups(of.mode));
  }

  // Of rank 0, in the second step.
  double measured(const Case& of) const {
    double peak = 0;
    const int threads = at::get_num_threads();
    run_rank_threads(of.tp, [&](Communicator& world) {
      at::set_num_threads(1);
      testing::ThreadMemory memory;
      const RunConfig config = config_of(of);
      testing::LoadedLayout layout;
      layout.has_sequence_parallel = of.is_sequence_parallel;
      layout.modes = all_groups(of.mode);
      testing::TrainedModel run(folder_.path(), config.adapter(),
                                Mesh(world, mesh_shape(of.tp, of.tp, 1)), layout, of.type,
                                {.train = config.train()});
      // What the base reads in place from its file is not the allocator's: counted whole instead.
      const RankMemory plan = plan_of(of);
      const double copied = static_cast<double>(memory.live_bytes()) - plan.adapter - plan.moments;
      for (int64_t step = 0; step < 2; ++step) {
        memory.reset_peak();
        const StepResult result =
            run.step().run(step, deal_rows(full_rows(of, step, 4096), 0, 1, of.rows), 1e-3);
        EXPECT_FALSE(result.is_skipped);
      }
      if (world.rank() != 0) return;
      peak =
          static_cast<double>(memory.peak_bytes() + run.loaded().weights().kept_bytes()) - copied;
    });
    at::set_num_threads(threads);
    return peak;
  }

  void expect_as_planned(const Case& of) const {
    const double plan = plan_of(of).tensors();
    const double got = measured(of);
    EXPECT_LE(std::abs(plan - got), kTolerance * got)
        << text_of(of)
        << fmt::format(": planned {:.1f} MiB, took {:.1f} MiB ({:+.1f} %)", plan / (1 << 20),
                       got / (1 << 20), 100 * (plan / got - 1));
    RecordProperty(text_of(of), fmt::format("{:+.2f} %", 100 * (plan / got - 1)));
    std::printf("%s: planned %.1f MiB, took %.1f MiB (%+.1f %%)\n", text_of(of).c_str(),
                plan / (1 << 20), got / (1 << 20), 100 * (plan / got - 1));
  }

  testing::TempFolder folder_;
  Architecture architecture_;
};

class PeakMemory : public PeakMemoryTest {};

TEST_F(PeakMemory, IsAsPlannedInFp32) { expect_as_planned({}); }

TEST_F(PeakMemory, IsAsPlannedInBf16) { expect_as_planned({.type = at::kBFloat16}); }

TEST_F(PeakMemory, IsAsPlannedWithRecomputation) {
  expect_as_planned({.recompute = TrainConfig::selective});
  expect_as_planned({.recompute = TrainConfig::full});
}

TEST_F(PeakMemory, IsAsPlannedOnTwoRanks) {
  expect_as_planned({.tp = 2});
  expect_as_planned({.tp = 2, .is_sequence_parallel = true, .mode = ExchangeMode::kRank});
}

class PeakMemoryGrid : public PeakMemoryTest {};

TEST_F(PeakMemoryGrid, IsAsPlannedInEveryPrecisionAndRecomputation) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const auto recompute : {TrainConfig::none, TrainConfig::selective, TrainConfig::full}) {
      for (const int64_t rows : {1, 4}) {
        for (const int64_t length : {128, 512}) {
          expect_as_planned({.type = type, .rows = rows, .length = length, .recompute = recompute});
        }
      }
    }
  }
}

TEST_F(PeakMemoryGrid, IsAsPlannedWithAnyNumberOfExperts) {
  for (const uint32_t num_experts : {1U, 2U, 32U}) {
    for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
      expect_as_planned({.type = type, .num_experts = num_experts});
    }
  }
}

TEST_F(PeakMemoryGrid, IsAsPlannedWithDropoutAndMicroSteps) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    expect_as_planned({.type = type, .dropout = 0.05});
    expect_as_planned({.type = type, .rows = 1, .micro_steps = 3});
  }
}

TEST_F(PeakMemoryGrid, IsAsPlannedOnTwoRanksInEveryWay) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    for (const bool is_sequence_parallel : {false, true}) {
      for (const ExchangeMode mode : {ExchangeMode::kReplicate, ExchangeMode::kRank}) {
        for (const auto recompute : {TrainConfig::none, TrainConfig::full}) {
          expect_as_planned({.type = type,
                             .recompute = recompute,
                             .tp = 2,
                             .is_sequence_parallel = is_sequence_parallel,
                             .mode = mode});
        }
      }
    }
  }
}

}  // namespace
}  // namespace molora
