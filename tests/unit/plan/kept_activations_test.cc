#include "plan/kept_activations.h"

#include <gtest/gtest.h>

#include "plan/peak_memory.h"
#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::hand_input;
using testing::qwen_input;

// 0 when the list has no such item.
double bytes_of(const std::vector<KeptTensor>& kept, const std::string& part,
                const std::string& what) {
  double bytes = 0;
  for (const KeptTensor& item : kept) {
    if (item.part == part && item.what == what) bytes += item.bytes;
  }
  return bytes;
}

std::vector<KeptTensor> layer_of(const PlanInput& input,
                                 ExchangeMode mode = ExchangeMode::kReplicate) {
  return kept_of_layer(input, all_groups(mode), 1);
}

PlanInput no_dropout(const MeshShape& mesh, std::vector<std::string> overrides = {}) {
  overrides.emplace_back("adapter.lora_dropout=0");
  return hand_input(mesh, overrides);
}

TEST(KeptActivations, OfOneLayerAreThoseOfItsParts) {
  // 20 tokens, D 8, F 12, 4 heads of 2, 2 key-value heads; 4 experts of rank 2, 2 chosen; fp32.
  const auto kept = layer_of(no_dropout(mesh_shape(1, 1, 1)));
  EXPECT_EQ(bytes_of(kept, "input norm", "input"), 20 * 8 * 4);
  EXPECT_EQ(bytes_of(kept, "qkv", "input"), 20 * 8 * 4) << "once for three linears";
  EXPECT_EQ(bytes_of(kept, "qkv", "bottleneck h"), 3 * 20 * 2 * 4);
  EXPECT_EQ(bytes_of(kept, "attention", "queries"), 20 * 8 * 4);
  EXPECT_EQ(bytes_of(kept, "attention", "log-sum-exp"), 20 * 4 * 4);
  EXPECT_EQ(bytes_of(kept, "activation", "gate and up"), 2 * 20 * 12 * 4);
  EXPECT_EQ(bytes_of(kept, "down", "input"), 20 * 12 * 4);
  EXPECT_EQ(bytes_of(kept, "down", "bottleneck u"), 20 * 4 * 2 * 4);
  EXPECT_EQ(bytes_of(kept, "gate_up", "bottleneck h"), 2 * 20 * 4 * 2 * 4);
}

TEST(KeptActivations, AreTheInputAloneWhenALayerIsRecomputed) {
  const auto kept =
      layer_of(no_dropout(mesh_shape(1, 1, 1), {"train.activation_checkpointing=full"}));
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].bytes, 20 * 8 * 4);
}

TEST(KeptActivations, AreFewerWithSelectiveRecomputation) {
  const PlanInput whole = no_dropout(mesh_shape(1, 1, 1));
  const PlanInput selective =
      no_dropout(mesh_shape(1, 1, 1), {"train.activation_checkpointing=selective"});
  EXPECT_LT(sum_of(layer_of(selective)), sum_of(layer_of(whole)));
  EXPECT_EQ(bytes_of(layer_of(selective), "attention", "log-sum-exp"), 0);
}

TEST(KeptActivations, AreSplitByTensorAndSequenceParallelism) {
  const auto one = layer_of(no_dropout(mesh_shape(1, 1, 1)));
  const auto tp = layer_of(no_dropout(mesh_shape(2, 2, 1)));
  const auto sp = layer_of(no_dropout(mesh_shape(2, 2, 1), {"parallel.sequence_parallel=true"}));
  EXPECT_EQ(bytes_of(tp, "activation", "gate and up"),
            bytes_of(one, "activation", "gate and up") / 2);
  EXPECT_EQ(bytes_of(tp, "input norm", "input"), bytes_of(one, "input norm", "input"));
  EXPECT_EQ(bytes_of(sp, "input norm", "input"), bytes_of(one, "input norm", "input") / 2);
  EXPECT_EQ(bytes_of(sp, "gate_up", "input"), bytes_of(one, "gate_up", "input") / 2);
}

TEST(KeptActivations, OfTheFirstLayerLackWhatNothingBeforeIsTrainedFor) {
  const PlanInput input = no_dropout(mesh_shape(1, 1, 1));
  const auto first = kept_of_layer(input, all_groups(ExchangeMode::kReplicate), 0);
  EXPECT_EQ(bytes_of(first, "input norm", "input"), 0);
  EXPECT_EQ(bytes_of(first, "qkv", "input"), 20 * 8 * 4);
}

TEST(KeptActivations, AddUpOverTheLayers) {
  const PlanInput input = no_dropout(mesh_shape(1, 1, 1));
  const auto kept = kept_activations(input, all_groups(ExchangeMode::kReplicate));
  EXPECT_EQ(bytes_of(kept, "down", "input"), 2 * 20 * 12 * 4);
  EXPECT_EQ(bytes_of(kept, "input norm", "input"), 20 * 8 * 4);
  EXPECT_EQ(bytes_of(kept, "routers", "choices of the step"),
            static_cast<double>(20 * 2 * 8 * 3 * 2 * input.micro_steps));
}

TEST(BaseBytes, CountAQuantisedBaseWithItsScales) {
  const MeshShape mesh = mesh_shape(1, 1, 1);
  const double bf16 = base_bytes(qwen_input(mesh, 64));
  // Of the layers' linears: 4 D D + 3 D F, 32 times.
  const double linears = 32 * (4.0 * 4096 * 4096 + 3.0 * 4096 * 11008);
  const double rest = bf16 - 2 * linears;
  EXPECT_EQ(base_bytes(qwen_input(mesh, 64, {"model.quantization=int8"})),
            rest + linears * (1 + 4.0 / 128));
  EXPECT_EQ(base_bytes(qwen_input(mesh, 64, {"model.quantization=nf4"})),
            rest + linears * (0.5 + 4.0 / 64));
  // A row of 8 values has one scale all the same.
  const double hand = base_bytes(hand_input(mesh));
  EXPECT_EQ(base_bytes(hand_input(mesh, {"model.quantization=int8"})),
            hand - 2 * 4 * (2 * 64 + 2 * 32 + 3 * 96) +
                2 * (2 * 64 + 2 * 32 + 3 * 96 + 4 * (8 + 4 + 4 + 8 + 12 + 12 + 8)));
}

TEST(RankMemory, LeavesOffloadedMomentsToTheHost) {
  PlanInput input = qwen_input(mesh_shape(8, 2, 1), 4096, {"train.offload_optimizer=true"});
  const ExchangeModes modes = all_groups(ExchangeMode::kReplicate);
  EXPECT_GT(peak_memory(input, modes).moments, 0) << "ranks on CPUs have one memory";
  input.is_gpu = true;
  EXPECT_EQ(peak_memory(input, modes).moments, 0);
  EXPECT_EQ(peak_memory(input, modes).checkpoint_copy, 0);
  const double host = host_memory_of_gpu_rank(input, modes);
  input.is_optimizer_offloaded = false;
  EXPECT_DOUBLE_EQ(host - host_memory_of_gpu_rank(input, modes), peak_memory(input, modes).moments);
}

TEST(RankMemory, IsFullestWhereGradientsOrActivationsAre) {
  const ExchangeModes modes = all_groups(ExchangeMode::kReplicate);
  // Few tokens and large experts: all gradients are there at the end of the backward pass.
  const auto few =
      peak_memory(qwen_input(mesh_shape(1, 1, 1), 64, {"adapter.num_experts=64"}), modes);
  EXPECT_GT(few.gradients, few.adapter * 1.5);
  EXPECT_EQ(few.tensors(), few.base + few.adapter + few.gradients + few.moments + few.activations +
                               few.working_set + few.exchange);
  const auto many =
      peak_memory(qwen_input(mesh_shape(1, 1, 1), 4096,
                             {"train.global_batch_size=1", "train.micro_batch_size=1"}),
                  modes);
  EXPECT_EQ(many.gradients, many.adapter) << "the sums of the last step";
}

}  // namespace
}  // namespace molora
