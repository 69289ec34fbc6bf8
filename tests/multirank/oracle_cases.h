// The models and special cases that layouts are compared on: for the test that runs each time and
// for the one that runs them all.
#pragma once

#include <string>
#include <tuple>
#include <vector>

#include "support/oracle.h"

namespace molora::testing {

enum class Head { kTied, kUntied };

// A GQA model for tp 1, 2, 4, 8.
inline OracleCase by_two(Head head) {
  OracleCase of;
  of.model = model_for(2);
  of.model["tie_word_embeddings"] = head == Head::kTied;
  return of;
}

// The same for tp 1, 3, 6.
inline OracleCase by_three(Head head) {
  OracleCase of;
  of.model = model_for(3);
  of.model["tie_word_embeddings"] = head == Head::kTied;
  of.adapter = oracle_adapter(6, 2);
  return of;
}

inline RunShape layout_of(const std::tuple<int, int, int>& ranks_tp_ep, bool sp,
                          ExchangeMode mode) {
  RunShape shape;
  std::tie(shape.num_ranks, shape.tp, shape.ep) = ranks_tp_ep;
  shape.layout.has_sequence_parallel = sp;
  shape.layout.modes = all_groups(mode);
  return shape;
}

// Layouts of each mode that use all axes, with sequence parallelism and without.
inline std::vector<RunShape> sample_layouts() {
  std::vector<RunShape> shapes;
  for (const ExchangeMode mode : kExchangeModes) {
    for (const bool sp : {false, true}) {
      shapes.push_back(layout_of({4, 2, 4}, sp, mode));
      shapes.push_back(layout_of({4, 2, 2}, sp, mode));
      shapes.push_back(layout_of({4, 4, 2}, sp, mode));
    }
    shapes.push_back(layout_of({2, 1, 2}, false, mode));
  }
  return shapes;
}

// The fewest that still have every mode with every axis split.
inline std::vector<RunShape> few_layouts() {
  std::vector<RunShape> shapes;
  for (const ExchangeMode mode : kExchangeModes) {
    shapes.push_back(layout_of({4, 2, 4}, true, mode));
    shapes.push_back(layout_of({4, 4, 2}, false, mode));
  }
  return shapes;
}

// Every mode once, with sequence parallelism or without.
inline std::vector<RunShape> fewest_layouts() {
  std::vector<RunShape> shapes;
  for (const ExchangeMode mode : kExchangeModes) {
    const bool is_even = shapes.size() % 2 == 0;
    shapes.push_back(is_even ? layout_of({4, 2, 4}, true, mode)
                             : layout_of({4, 4, 2}, false, mode));
  }
  return shapes;
}

struct SpecialCase {
  std::string name;
  OracleCase of;
  std::vector<RunShape> more_layouts = {};
};

// Changes every router's bias of one expert.
inline std::function<void(AdapterSet&)> bias_of_expert(int64_t expert, double value) {
  return [expert, value](AdapterSet& adapters) {
    const at::NoGradGuard no_grad;
    for (const LinearAdapter& linear : adapters.linears()) {
      if (linear.spec.has_router()) linear.router_bias.detach()[expert] = value;
    }
  };
}

// Two tokens a row: on more tp ranks than that some have none.
inline std::vector<TrainRow> two_token_rows(int64_t step, int32_t vocab) {
  std::vector<TrainRow> rows = random_rows(3, 1000 * step, vocab);
  for (TrainRow& row : rows) {
    row.resize(1);
    row[0].ids.resize(2);
    row[0].supervised = {0, 1};
  }
  return rows;
}

inline std::vector<SpecialCase> cases_of_routing() {
  std::vector<SpecialCase> cases;
  OracleCase of;
  of.adapter = oracle_adapter(8, 1);
  cases.push_back({"OneExpertPerToken", of});
  // Seven of eight experts, and the ranks that hold them, have no tokens at all.
  of.prepare = bias_of_expert(2, 50.0);
  cases.push_back({"AllTokensToOneExpert", of});
  of = OracleCase{};
  of.prepare = bias_of_expert(5, -50.0);
  cases.push_back({"OneExpertNobodyChooses", of});
  of = OracleCase{};
  of.adapter.mutable_router()->set_gate(RouterConfig::dense_softmax);
  cases.push_back({"EveryExpertForEveryToken", of});
  of = OracleCase{};
  of.adapter.mutable_router()->set_bias(false);
  of.adapter.mutable_router()->set_gate(RouterConfig::softmax_topk_renorm);
  of.lora_plus_ratio = 8.0;
  cases.push_back({"NoRouterBiasAndLoraPlus", of});
  return cases;
}

// The losses of the routers, by each rule, and gates that each count in their own way.
inline std::vector<SpecialCase> cases_of_losses() {
  std::vector<SpecialCase> cases;
  OracleCase of;
  RouterConfig& router = *of.adapter.mutable_router();
  LocalizedBalanceConfig& localized = *router.mutable_localized_balance();
  router.mutable_health()->set_every(2);
  router.set_loss_across_routers(RouterConfig::sum);
  router.set_entropy_loss_coef(0.03);
  localized.set_coef(0.05);
  localized.set_delta(0.2);
  localized.add_tasks("b");
  cases.push_back({"LossesSummed", of});
  router.set_loss_across_routers(RouterConfig::concat);
  router.set_entropy_loss_coef(-0.03);
  cases.push_back({"LossesConcatenated", of});
  router.set_loss_across_routers(RouterConfig::mean);
  router.set_balance_loss_coef(0.0);
  router.set_gate(RouterConfig::dense_softmax);
  of.recompute = TrainConfig::full;
  cases.push_back({"LocalizedBalanceOfADenseGate", of});
  of = OracleCase{};
  of.adapter.mutable_router()->set_gate(RouterConfig::threshold);
  of.adapter.mutable_router()->set_loss_across_routers(RouterConfig::sum);
  cases.push_back({"BalanceOfThresholds", of});
  of.adapter.mutable_router()->set_gate(RouterConfig::top_p);
  of.adapter.mutable_router()->set_loss_across_routers(RouterConfig::concat);
  cases.push_back({"BalanceOfTopP", of});
  return cases;
}

// All tokens go to expert 2, and at the end of each step something is done about it.
inline OracleCase collapsed(RouterHealthConfig::Action action) {
  OracleCase of;
  of.adapter = oracle_adapter(8, 1);
  of.adapter.add_frozen_experts(1);
  RouterHealthConfig& health = *of.adapter.mutable_router()->mutable_health();
  health.set_window(1);
  health.set_every(1);
  health.set_action(action);
  of.prepare = bias_of_expert(2, action == RouterHealthConfig::revive ? 50.0 : 1.5);
  return of;
}

inline std::vector<SpecialCase> cases_of_measures() {
  OracleCase of;
  of.adapter.mutable_router()->set_bias_update_rate(0.05);
  return {{"ChoiceBiasMoves", of},
          {"CollapseMovesTheBias", collapsed(RouterHealthConfig::bias)},
          {"CollapseRaisesTheLoss", collapsed(RouterHealthConfig::raise_loss)},
          {"DeadExpertsBeginAnew", collapsed(RouterHealthConfig::revive)}};
}

inline std::vector<SpecialCase> cases_of_tokens() {
  std::vector<SpecialCase> cases;
  OracleCase of;
  of.rows = two_token_rows;
  of.micro_batch_size = 1;
  cases.push_back({"FewerTokensThanTpRanks",
                   of,
                   {layout_of({8, 8, 4}, true, ExchangeMode::kTokens),
                    layout_of({8, 8, 1}, false, ExchangeMode::kRank)}});
  of = OracleCase{};
  of.rows = [](int64_t step, int32_t vocab) { return random_rows(1, 1000 * step, vocab); };
  cases.push_back({"OneRowForManyDataRanks",
                   of,
                   {layout_of({8, 1, 8}, false, ExchangeMode::kTokens),
                    layout_of({8, 2, 4}, true, ExchangeMode::kGather)}});
  return cases;
}

// Qwen3's norms of heads, the biases that Llama may have, Mistral's window.
inline std::vector<SpecialCase> cases_of_models() {
  std::vector<SpecialCase> cases;
  OracleCase of;
  of.model["architectures"] = {"Qwen3ForCausalLM"};
  of.model["model_type"] = "qwen3";
  cases.push_back({"Qwen3", of});
  of.model["architectures"] = {"LlamaForCausalLM"};
  of.model["model_type"] = "llama";
  of.model["attention_bias"] = true;
  of.model["mlp_bias"] = true;
  cases.push_back({"LlamaWithBiases", of});
  of.model = model_for(2);
  of.model["architectures"] = {"MistralForCausalLM"};
  of.model["model_type"] = "mistral";
  of.model["sliding_window"] = 5;
  cases.push_back({"MistralWithWindow", of});
  return cases;
}

// Linears whose slices begin and end within blocks: down has 200 inputs (25 for each of 8 ranks), o
// has 160.
inline OracleCase quantized(BlockFormat format) {
  OracleCase of;
  of.model["head_dim"] = 20;
  of.model["intermediate_size"] = 200;
  of.quantization = format;
  return of;
}

// Unevenly spread over the ranks: one of the first half, one of the third quarter, all of the last.
inline AdapterConfig with_frozen_experts(AdapterConfig adapter) {
  for (const uint32_t expert : {1u, 5u, 6u, 7u}) adapter.add_frozen_experts(expert);
  return adapter;
}

// Experts that are whole MLPs beside experts with a router each on q, v and o.
inline OracleCase whole_mlps(RouterConfig::Gate gate = RouterConfig::topk_softmax) {
  OracleCase of;
  of.model["architectures"] = {"LlamaForCausalLM"};
  of.model["model_type"] = "llama";
  of.model["mlp_bias"] = true;
  of.adapter.mutable_router()->set_scope(RouterConfig::block);
  of.adapter.mutable_router()->set_gate(gate);
  return of;
}

// The exchanges that such experts have, with every axis split and with sequence parallelism.
inline std::vector<RunShape> layouts_of_whole_mlps() {
  std::vector<RunShape> shapes;
  for (const ExchangeMode mode : {ExchangeMode::kReplicate, ExchangeMode::kGather}) {
    for (const bool sp : {false, true}) {
      shapes.push_back(layout_of({2, 2, 2}, sp, mode));
      shapes.push_back(layout_of({4, 2, 4}, sp, mode));
      shapes.push_back(layout_of({4, 4, 2}, sp, mode));
    }
    shapes.push_back(layout_of({2, 1, 2}, false, mode));
  }
  // Another mode for down, and for the linears of the attention.
  RunShape mixed = layout_of({4, 2, 4}, true, ExchangeMode::kTokens);
  mixed.layout.modes.by_group[static_cast<size_t>(LinearGroup::kGateUp)] = ExchangeMode::kReplicate;
  mixed.layout.modes.by_group[static_cast<size_t>(LinearGroup::kDown)] = ExchangeMode::kGather;
  shapes.push_back(mixed);
  return shapes;
}

inline std::vector<SpecialCase> special_cases() {
  std::vector<SpecialCase> cases;
  for (const auto& part : {cases_of_routing(), cases_of_losses(), cases_of_measures(),
                           cases_of_tokens(), cases_of_models()}) {
    cases.insert(cases.end(), part.begin(), part.end());
  }
  OracleCase of;
  of.type = at::kFloat;
  cases.push_back({"SinglePrecision", of});
  of = OracleCase{};
  of.recompute = TrainConfig::full;
  cases.push_back({"RecomputedLayers", of});
  of.recompute = TrainConfig::selective;
  cases.push_back({"RecomputedSelectively", of});
  const RunShape eight = layout_of({8, 8, 1}, true, ExchangeMode::kReplicate);
  cases.push_back({"Int8Base", quantized(BlockFormat::kInt8), {eight}});
  cases.push_back({"Nf4Base", quantized(BlockFormat::kNf4), {eight}});
  of = OracleCase{};
  of.adapter = with_frozen_experts(of.adapter);
  cases.push_back({"FrozenExperts", of});
  return cases;
}

// Another mode for each group, all at once.
inline std::vector<RunShape> mixed_modes() {
  std::vector<RunShape> shapes;
  for (const bool sp : {false, true}) {
    for (size_t first = 0; first < kNumLinearGroups; ++first) {
      RunShape shape = layout_of({4, 2, 4}, sp, ExchangeMode::kTokens);
      for (size_t group = 0; group < kNumLinearGroups; ++group) {
        shape.layout.modes.by_group[group] = kExchangeModes[(first + group) % 4];
      }
      shapes.push_back(shape);
    }
  }
  return shapes;
}

}  // namespace molora::testing
