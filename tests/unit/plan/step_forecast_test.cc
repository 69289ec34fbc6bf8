#include "plan/step_forecast.h"

#include <gtest/gtest.h>

#include "config/hardware.h"
#include "plan/traffic_plan.h"
#include "plan/work_plan.h"
#include "support/plan_shapes.h"

namespace molora {
namespace {

using testing::qwen_input;

// No limit but what `set` says.
MachineModel machine(const std::string& set) {
  return {parse_hardware("name: m\n" + set, "test"), ModelConfig::bf16};
}

MachineModel only_flops() {
  return machine(
      "flops: {bf16: 1.0e+15}\nmemory_bandwidth: 1.0e+30\n"
      "links: [{name: l, bandwidth: 1.0e+30}]\n");
}

MachineModel only_links() {
  return machine(
      "flops: {bf16: 1.0e+30}\nmemory_bandwidth: 1.0e+30\n"
      "links: [{name: l, bandwidth: 1.0e+9}]\n");
}

TEST(StepForecast, DoesTheArithmeticOfTheWorkPlan) {
  const PlanInput input = qwen_input(mesh_shape(8, 2, 1), 4096, {"adapter.expert_compute=dense"});
  const ExchangeModes modes = all_groups(ExchangeMode::kReplicate);
  double flops = base_work(input).flops;
  for (const LinearGroup group : kLinearGroups) {
    flops += adapter_work(input, group, modes.of(group)).flops;
  }
  const double expected = flops * static_cast<double>(input.micro_steps) / 1e15;
  // Attention's backward pass computes the scores once more; the router's product is memory's.
  EXPECT_NEAR(step_forecast(input, modes, only_flops()).total() / expected, 1, 0.02);
}

TEST(StepForecast, SendsTheBytesOfTheTrafficPlan) {
  const PlanInput input = qwen_input(mesh_shape(16, 2, 8), 4096);
  for (const ExchangeMode mode : kExchangeModes) {
    const ExchangeModes modes = all_groups(mode);
    const double bytes =
        (bytes_sent(micro_step_traffic(input, modes)) * static_cast<double>(input.micro_steps) +
         bytes_sent(step_traffic(input, modes))) /
        16;
    EXPECT_NEAR(step_forecast(input, modes, only_links()).total() / (bytes / 1e9), 1, 1e-9)
        << exchange_mode_name(mode);
  }
}

TEST(StepForecast, NamesTheAxisThatIsWaitedFor) {
  const PlanInput input = qwen_input(mesh_shape(16, 2, 8), 4096);
  const TermSeconds tokens = step_forecast(input, all_groups(ExchangeMode::kTokens), only_links());
  const TermSeconds rank = step_forecast(input, all_groups(ExchangeMode::kRank), only_links());
  EXPECT_GT(tokens[TimeTerm::kExpertLinks], 0);
  EXPECT_EQ(rank[TimeTerm::kExpertLinks], 0);
  EXPECT_GT(rank[TimeTerm::kTensorLinks], 0);
  EXPECT_GT(rank[TimeTerm::kDataLinks], 0);
}

TEST(StepForecast, DoesForwardWorkAgainWhenLayersAreRecomputed) {
  const ExchangeModes modes = all_groups(ExchangeMode::kReplicate);
  const auto seconds = [&](const char* recompute) {
    return step_forecast(qwen_input(mesh_shape(1, 1, 1), 4096,
                                    {std::string("train.activation_checkpointing=") + recompute}),
                         modes, only_flops());
  };
  EXPECT_EQ(seconds("none")[TimeTerm::kRecompute], 0);
  const double base = seconds("full")[TimeTerm::kBase];
  // One forward pass more, and attention and adapters with it; base products are two passes.
  EXPECT_GT(seconds("full")[TimeTerm::kRecompute], base / 2);
  EXPECT_LT(seconds("full")[TimeTerm::kRecompute], base * 0.7);
}

TEST(StepForecast, ExpandsAQuantisedBaseWhereItIsUsed) {
  const MachineModel memory = machine("flops: {bf16: 1.0e+30}\nmemory_bandwidth: 1.0e+12\n");
  const auto expansion = [&](const char* quantization) {
    return base_forecast(
        qwen_input(mesh_shape(1, 1, 1), 4096, {std::string("model.quantization=") + quantization}),
        memory)[TimeTerm::kExpansion];
  };
  EXPECT_EQ(expansion("none"), 0);
  EXPECT_GT(expansion("int8"), expansion("nf4"));
  EXPECT_GT(expansion("nf4"), 0);
}

TEST(StepForecast, ComputesManyExpertsByTheirTokensWhereThatIsFaster) {
  const auto adapters = [&](const char* compute) {
    return adapter_forecast(
        qwen_input(mesh_shape(1, 1, 1), 4096,
                   {"adapter.num_experts=128", std::string("adapter.expert_compute=") + compute}),
        LinearGroup::kDown, ExchangeMode::kReplicate, only_flops())[TimeTerm::kAdapters];
  };
  EXPECT_LT(adapters("grouped"), adapters("dense") / 10);
  EXPECT_EQ(adapters("auto"), adapters("grouped"));
}

TEST(StepForecast, HidesTheHostBehindAGpuAndNotBehindAProcessor) {
  PlanInput input = qwen_input(mesh_shape(1, 1, 1), 4096);
  const MachineModel slow_host =
      machine("flops: {bf16: 1.0e+15}\nmemory_bandwidth: 1.0e+12\noperator_latency: 1.0e-6\n");
  TermSeconds work;
  work[TimeTerm::kBase] = 1e9;
  EXPECT_GT(host_seconds(input, work, slow_host), 0);
  input.is_gpu = true;
  EXPECT_EQ(host_seconds(input, work, slow_host), 0);
  EXPECT_GT(host_seconds(input, TermSeconds(), slow_host), 0);
}

}  // namespace
}  // namespace molora
