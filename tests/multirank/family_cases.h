// The members of the MoLoRA family that layouts are compared on (support/oracle.h).
#pragma once

#include <string>
#include <vector>

#include "multirank/oracle_cases.h"

namespace molora::testing {

// Rows whose samples are of three tasks.
inline std::vector<TrainRow> rows_of_tasks(int64_t step, int32_t vocab) {
  std::vector<TrainRow> rows = random_rows(5, 1000 * step, vocab);
  for (TrainRow& row : rows) {
    for (TrainSequence& sequence : row) sequence.task = sequence.sample % 3;
  }
  return rows;
}

// Four parts of each linear's input; the widths of a head divide by no tp size.
inline OracleCase with_heads() {
  OracleCase of;
  of.adapter.mutable_targets()->set_v_proj(TargetsConfig::lora);  // fewer heads than tp ranks
  of.adapter.mutable_router()->set_heads(4);
  return of;
}

// DoRA on linears of both kinds, among them one that several ranks hold alike.
inline OracleCase with_dora() {
  OracleCase of;
  TargetsConfig& targets = *of.adapter.mutable_targets();
  targets.set_o_proj(TargetsConfig::lora);
  targets.set_down_proj(TargetsConfig::lora);
  of.adapter.set_dora(true);
  of.model["architectures"] = {"LlamaForCausalLM"};
  of.model["model_type"] = "llama";
  of.model["attention_bias"] = true;
  of.model["mlp_bias"] = true;
  return of;
}

inline OracleCase routed_by_task() {
  OracleCase of;
  RouterConfig& router = *of.adapter.mutable_router();
  router.set_input(RouterConfig::task);
  router.set_task_embedding(5);
  for (const char* task : {"a", "b", "c"}) router.add_tasks(task);
  of.rows = rows_of_tasks;
  return of;
}

// HydraLoRA's A with every gate and way of computing.
inline OracleCase with_shared_A() {
  OracleCase of;
  of.adapter.set_shared_a(true);
  of.adapter.mutable_router()->set_bias(false);
  return of;
}

// Other numbers of experts, choices and ranks in each layer.
inline OracleCase by_layer() {
  OracleCase of;
  for (const uint32_t experts : {8u, 4u}) of.adapter.add_num_experts_by_layer(experts);
  for (const uint32_t k : {2u, 3u}) of.adapter.add_experts_per_token_by_layer(k);
  for (const uint32_t rank : {3u, 2u}) of.adapter.add_lora_rank_by_layer(rank);
  return of;
}

inline OracleCase with_gate(RouterConfig::Gate gate) {
  OracleCase of;
  RouterConfig& router = *of.adapter.mutable_router();
  router.set_gate(gate);
  router.set_bias(false);
  router.set_top_p_mass(0.4);
  router.set_threshold_max(gate == RouterConfig::threshold ? 0.25 : 0.0);
  return of;
}

inline OracleCase with_drawn_experts() {
  OracleCase of;
  of.adapter.mutable_router()->set_selection(RouterConfig::sampled);
  return of;
}

inline OracleCase with_shared_experts() {
  OracleCase of;
  of.adapter.set_num_experts(6);
  of.adapter.set_shared_experts(2);
  return of;
}

inline std::vector<SpecialCase> family_cases() {
  OracleCase hydra = with_shared_A();
  hydra.adapter.mutable_router()->set_gate(RouterConfig::dense_softmax);
  OracleCase single = with_gate(RouterConfig::threshold);
  single.type = at::kFloat;
  OracleCase again = with_drawn_experts();
  again.recompute = TrainConfig::full;
  return {{"SharedExperts", with_shared_experts()},
          {"SharedA", with_shared_A()},
          {"HydraLora", hydra},
          {"ExpertsByLayer", by_layer()},
          {"Threshold", with_gate(RouterConfig::threshold)},
          {"TopP", with_gate(RouterConfig::top_p)},
          {"DrawnExperts", with_drawn_experts()},
          {"DrawnExpertsRecomputed", again},
          {"RoutedByTask", routed_by_task()},
          {"Heads", with_heads()},
          {"Dora", with_dora()}};
}

}  // namespace molora::testing
