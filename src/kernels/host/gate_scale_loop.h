// The gates of a bottleneck applied to it: the formulas and the rounding of
// bodies/gate_scale_body.h.
//
//   T tokens, E experts, r LoRA rank
#pragma once

#include "kernels/bodies/gate_scale_body.h"
#include "kernels/host/loop_code.h"

namespace molora {

// A row is a token.
template <typename Value, typename Weight>
struct GateLoop {
  const Value* u;         // [tokens, experts, r]
  const Weight* weights;  // [tokens, experts]
  Value* h;               // [tokens, experts, r]
  int64_t num_experts;
  int64_t lora_rank;
  Weight scale;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t gate = begin * num_experts; gate < end * num_experts; ++gate) {
      const Wide<Value> factor = gate_of<Value>(weights[gate], scale);
      const Value* of_u = u + gate * lora_rank;
      Value* of_h = h + gate * lora_rank;
      MOLORA_INDEPENDENT
      for (int64_t i = 0; i < lora_rank; ++i) of_h[i] = round_to<Value>(to_wide(of_u[i]) * factor);
    }
  }
};

template <typename Value, typename Weight>
struct GateBackwardLoop {
  const Value* u;
  const Weight* weights;
  const Value* d_h;   // [tokens, experts, r]
  Value* d_u;         // [tokens, experts, r]
  Weight* d_weights;  // [tokens, experts]
  int64_t num_experts;
  int64_t lora_rank;
  Weight scale;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t gate = begin * num_experts; gate < end * num_experts; ++gate) {
      const Wide<Value> factor = gate_of<Value>(weights[gate], scale);
      const Value* of_u = u + gate * lora_rank;
      const Value* of_d_h = d_h + gate * lora_rank;
      Value* of_d_u = d_u + gate * lora_rank;
      const auto products = sum_of<Wide<Value>>(
          lora_rank, [=](int64_t i) { return to_wide(of_d_h[i]) * to_wide(of_u[i]); });
      MOLORA_INDEPENDENT
      for (int64_t i = 0; i < lora_rank; ++i) {
        of_d_u[i] = round_to<Value>(to_wide(of_d_h[i]) * factor);
      }
      d_weights[gate] = static_cast<Weight>(products) * scale;
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_GATE_SCALE_LOOPS(use)                                                       \
  use(GateLoop<float, float>) use(GateLoop<BFloat16, float>) use(GateLoop<double, double>) \
      use(GateBackwardLoop<float, float>) use(GateBackwardLoop<BFloat16, float>)           \
          use(GateBackwardLoop<double, double>)
