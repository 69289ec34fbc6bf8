// The grouped way of computing experts: each expert on its own tokens alone.
//
//   u_p = A_e x~_t                          for each pair p of a token t and an expert e it uses
//   out_t += sum over e of s w_te B_e u_p   in ascending order of e
//
// x~ is x after dropout. The cost is that of k * r columns whatever the number of experts; the
// dense way (model/bottleneck.h) computes all E * r of them. The same numbers to rounding. On the
// CPU.
//
//   T tokens, D inputs, O outputs, E experts, r LoRA rank, P pairs
#pragma once

#include <optional>

#include <ATen/ATen.h>

#include "kernels/expert_rows.h"
#include "tensor/philox_tensor.h"

namespace molora {

using at::Tensor;

// Which masks x is under (kernels/dropout.h). They are drawn again in the backward pass.
struct TokenDropout {
  Tensor samples_T;
  Tensor positions_T;
  DropoutChannels channels;
  Dropout dropout;
};

Tensor under_dropout(const Tensor& x_TD, const TokenDropout& dropout);

// The experts of one linear and what its tokens make of them.
struct GroupedExperts {
  Tensor lora_A;      // [experts, r, inputs]
  Tensor lora_B;      // [experts, r, outputs]
  Tensor weights_TE;  // [tokens, experts], fp32 or fp64; read where `rows` has a pair
  ExpertRows rows;
  double scale = 1.0;
  std::optional<TokenDropout> dropout = std::nullopt;
};

// Adds the experts' results to out_TO in place, no gradient recorded, and returns u: [pairs, r], in
// fp32 (fp64 for fp64), which the backward pass needs. x_TD: [tokens, inputs].
Tensor add_grouped_experts(const GroupedExperts& experts, const Tensor& x_TD, const Tensor& out_TO);

struct GroupedGradients {
  Tensor lora_A;  // as the inputs, in their types
  Tensor lora_B;
  Tensor weights_TE;  // 0 where there is no pair
};
// u_Pr: as add_grouped_experts() gave it. d_x_TD: what is added to, or undefined.
GroupedGradients grouped_gradients(const GroupedExperts& experts, const Tensor& x_TD,
                                   const Tensor& u_Pr, const Tensor& d_out_TO,
                                   const Tensor& d_x_TD);

// The same as one differentiable function, in place on out_TO, which it returns. Keeps x, u and the
// pairs for the backward pass: nothing as wide as E * r, or k * D.
Tensor apply_grouped_experts(const Tensor& out_TO, const Tensor& x_TD,
                             const GroupedExperts& experts);

// The two halves as differentiable functions of their own, for placements in which the values of
// pairs travel between them.
//
// u: [pairs, r] in fp32 (fp64 for fp64). x_TD: [tokens, inputs]; lora_A: [experts, r, inputs].
Tensor project_pairs(const Tensor& x_TD, const Tensor& lora_A, const ExpertRows& rows,
                     const std::optional<TokenDropout>& dropout);
// u times gate and scale, in u's type. weights_TE: [tokens, experts] of the same experts.
Tensor gate_pairs(const Tensor& u_Pr, const Tensor& weights_TE, const ExpertRows& rows,
                  double scale);
// out_TO, to which the pairs' results are added in place. h_Pr: [pairs, r], any type; lora_B:
// [experts, r, outputs].
Tensor expand_pairs(const Tensor& out_TO, const Tensor& h_Pr, const Tensor& lora_B,
                    const ExpertRows& rows);

}  // namespace molora
