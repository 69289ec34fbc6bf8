// The gates of a bottleneck applied to it: h = u * gate, with gate = w * scale in u's type.
//
//   T tokens, E experts, r LoRA rank
#pragma once

#include "kernels/bodies/device_code.h"
#include "kernels/bodies/meet.h"
#include "kernels/bodies/number.h"

namespace molora {

// The gate of one expert as it meets u: computed in the router's precision, rounded once.
template <typename Value, typename Weight>
MOLORA_DEVICE Wide<Value> gate_of(Weight weight, Weight scale) {
  return to_wide(round_to<Value>(static_cast<Wide<Value>>(weight * scale)));
}

template <typename Value, typename Weight>
struct GateForward {
  static constexpr int kThreads = 256;
  static constexpr bool kMeetsThreads = false;
  using Shared = NothingShared;

  const Value* u;         // [tokens, experts * r]
  const Weight* weights;  // [tokens, experts]
  Value* h;               // [tokens, experts * r]
  int64_t num_gates;      // tokens * experts
  int64_t lora_rank;
  Weight scale;
  RowGroups<kThreads> groups;  // a row is what one gate applies to

  int64_t num_blocks() const { return lora_rank == 0 ? 0 : groups.num_blocks(num_gates); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t row = groups.row(thread);
    if (row >= num_gates) return;
    const Wide<Value> gate = gate_of<Value>(weights[row], scale);
    for (int64_t i = groups.column(thread); i < lora_rank; i += groups.size()) {
      const int64_t at = row * lora_rank + i;
      h[at] = round_to<Value>(to_wide(u[at]) * gate);
    }
  }
};

// du = dh * gate; dw = scale * sum over the expert's r columns of dh * u, summed in at least fp32.
template <typename Value, typename Weight>
struct GateBackward {
  static constexpr int kThreads = 256;
  static constexpr bool kMeetsThreads = true;
  using Shared = NothingShared;

  const Value* u;
  const Weight* weights;
  const Value* d_h;   // [tokens, experts * r]
  Value* d_u;         // [tokens, experts * r]
  Weight* d_weights;  // [tokens, experts]
  int64_t num_gates;
  int64_t lora_rank;
  Weight scale;
  RowGroups<kThreads> groups;  // of at most a warp

  int64_t num_blocks() const { return groups.num_blocks(num_gates); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t row = groups.row(thread);
    const bool has_row = row < num_gates;
    const Wide<Value> gate = has_row ? gate_of<Value>(weights[row], scale) : Wide<Value>{0};
    Wide<Value> sum = 0;
    for (int64_t i = groups.column(thread); has_row && i < lora_rank; i += groups.size()) {
      const int64_t at = row * lora_rank + i;
      const Wide<Value> gradient = to_wide(d_h[at]);
      sum += gradient * to_wide(u[at]);
      d_u[at] = round_to<Value>(gradient * gate);
    }
    sum = sum_over_lanes(thread, sum, groups.size());
    if (has_row && groups.column(thread) == 0) d_weights[row] = static_cast<Weight>(sum) * scale;
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_GATE_SCALE_BODIES(use)                                                              \
  use(GateForward<float, float>) use(GateBackward<float, float>) use(GateForward<BFloat16, float>) \
      use(GateBackward<BFloat16, float>) use(GateForward<double, double>)                          \
          use(GateBackward<double, double>)
