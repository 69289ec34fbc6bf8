// Two models to plan for: one small enough to be computed by hand, and the sizes of Qwen1.5-7B.
#pragma once

#include <string>
#include <vector>

#include "plan/plan_input.h"
#include "support/config_faults.h"

namespace molora::testing {

// D 8, F 12, 4 heads of 2, 2 key-value heads, 10 words, 2 layers.
inline Architecture hand_model() {
  Architecture model;
  model.vocab_size = 10;
  model.hidden_size = 8;
  model.intermediate_size = 12;
  model.num_layers = 2;
  model.num_heads = 4;
  model.num_kv_heads = 2;
  model.head_dim = 2;
  model.has_tied_head = true;
  model.attention_window = {0, 0};
  return model;
}

// 4 experts of rank 2 in the MLP, 2 per token, plain LoRA elsewhere; fp32; 20 tokens, 6 supervised,
// over all data-parallel ranks.
inline PlanInput hand_input(const MeshShape& mesh, const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all = {"adapter.num_experts=4", "adapter.lora_rank=2"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  PlanInput input = plan_input(config_from("", all), hand_model(), mesh, 20 / mesh.dp);
  input.supervised = 6;
  input.micro_steps = 1;
  return input;
}

inline Architecture qwen_7b() {
  Architecture model;
  model.vocab_size = 151936;
  model.hidden_size = 4096;
  model.intermediate_size = 11008;
  model.num_layers = 32;
  model.num_heads = 32;
  model.num_kv_heads = 32;
  model.head_dim = 128;
  model.has_qkv_bias = true;
  model.attention_window.assign(32, 0);
  return model;
}

// The preset of MING-MOE (8 experts of rank 16, 2 per token) in bf16, rows of 4096 tokens.
inline PlanInput qwen_input(const MeshShape& mesh, int64_t rank_tokens,
                            const std::vector<std::string>& overrides = {}) {
  std::vector<std::string> all = {"model.precision=bf16", "data.max_length=4096"};
  all.insert(all.end(), overrides.begin(), overrides.end());
  return plan_input(config_from("", all), qwen_7b(), mesh, rank_tokens);
}

}  // namespace molora::testing
