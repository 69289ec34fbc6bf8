// The pieces of an adapter's bottleneck form: down, gate, up.
//
//   u = (x * mask) A^T      [tokens, experts * r]
//   h = u * (s * w)         gates applied in rank space
//   out += h B              [tokens, outputs]
//
// The first of them is computed with the frozen linears and the routers that read the same input
// (model/input_products.h).
//
// Each works on whatever tokens, experts and columns it is given, so that every placement of the
// experts is made of the same arithmetic.
//
//   T tokens, D input columns, R experts * r
#pragma once

#include <optional>
#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/forward_context.h"
#include "model/frozen_linear.h"
#include "model/grouped_experts.h"

namespace molora {

using at::Tensor;

bool has_dropout(const LinearAdapter& adapter, const ForwardContext& context);

// The masks of these tokens' columns; nothing without dropout.
std::optional<TokenDropout> token_dropout(const LinearAdapter& adapter,
                                          const ForwardContext& context, const TokenIds& ids,
                                          const Slice& columns);

// x_TD: [tokens, columns], these columns of the linear's input. lora_A: [experts, r, columns].
// Returns [tokens, experts * r] in x's type, dropout applied in training.
Tensor project_down(const Tensor& x_TD, const Tensor& lora_A, const LinearAdapter& adapter,
                    const ForwardContext& context, const TokenIds& ids, const Slice& columns);

// An adapter that reads an input, with what this rank uses of it. Either tensor may be undefined.
struct ReadingAdapter {
  const LinearAdapter* adapter = nullptr;
  Tensor lora_A;            // [experts, r, columns], or [1, r, columns] for all of them
  Tensor router_weight;     // [logits, columns]
  Slice columns;            // which of the linear's inputs the columns are
  int64_t num_experts = 1;  // how many experts u is for
};

// What an adapter makes of its input.
struct AdapterReading {
  Tensor u_TR;       // as project_down() gives it, for each of the experts
  Tensor router_TZ;  // x W_s^T in the router's precision, without the bias
};

struct InputReading {
  std::vector<Tensor> outputs_TO;        // of the frozen linears
  std::vector<AdapterReading> adapters;  // in their order
  Tensor x_TD;                           // as InputProducts has it
};

// Everything that is computed from one input, the input being read and kept once. x_TD: [tokens,
// columns], as many as the frozen weights and the adapters' parts have. ids: of its tokens;
// dropout alone asks for them.
InputReading read_input(const Tensor& x_TD, const std::vector<FrozenLinear>& frozen,
                        const std::vector<ReadingAdapter>& adapters, const ForwardContext& context,
                        const TokenIds& ids);

// u of an A that experts share, once for each of them: [tokens, num_experts * r]. u that is of as
// many experts already is left as it is.
Tensor for_each_expert(const Tensor& u_TR, const AdapterSpec& spec, int64_t num_experts);

// A of these experts, [num_experts, r, inputs], where they share one.
Tensor each_experts_A(const Tensor& lora_A, const AdapterSpec& spec, int64_t num_experts);

// u_TR: [tokens, experts * r]; weights_TE: [tokens, experts] in the router's precision, undefined
// without a router. Returns u times gate and scale.
Tensor apply_gates(const Tensor& u_TR, const Tensor& weights_TE, const AdapterSpec& spec);

// out_TO + h_TR B with lora_B: [experts, r, outputs]. In place: out_TO is used up.
Tensor add_up(Tensor out_TO, const Tensor& h_TR, const Tensor& lora_B);

}  // namespace molora
