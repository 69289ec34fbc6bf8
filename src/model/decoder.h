// The causal language model: a frozen decoder with adapters in its linears.
//
//   x = embed(ids)
//   per layer:  h = x + o(attend(q(n), k(n), v(n)))  with n = norm(x), q and k rotated
//               x = h + down(silu(gate(m)) * up(m))  with m = norm(h)
//   hidden = norm(x);  logits = head(hidden)
//
//   T tokens on this rank, D hidden, F MLP, V vocabulary, H heads, A head size
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/architecture.h"
#include "model/base_weights.h"
#include "model/forward_context.h"
#include "model/molora_linear.h"
#include "model/rope.h"

namespace molora {

using at::Tensor;

// Refers to the weights and adapters that it is given; both must outlive it.
class CausalLM {
 public:
  CausalLM(const Architecture& architecture, const BaseWeights& weights,
           const AdapterSet& adapters);

  // The final normalised state of every token: [tokens, hidden]. Differentiable with respect to the
  // adapters when gradients are recorded. A batch without tokens gives an empty, connected result.
  Tensor hidden_states(const ForwardContext& context) const;

  // The output matrix, [vocabulary, hidden]: the embedding itself when the head is tied. Frozen.
  const Tensor& head_weight_VD() const { return head_weight_VD_; }

  // Logits of these states in fp32 (fp64 when the model computes in fp64): [rows, vocabulary].
  Tensor logits(const Tensor& hidden_ND) const;

  const Architecture& architecture() const { return architecture_; }
  at::ScalarType compute_type() const { return embedding_VD_.scalar_type(); }

 private:
  struct Layer {
    Tensor input_norm_D;
    Tensor post_attention_norm_D;
    Tensor q_norm_A;  // undefined without q/k norm
    Tensor k_norm_A;
    FrozenLinear linears[kLinearKinds.size()];
  };

  Tensor layer_forward(int64_t index, const Tensor& x_TD, const RotaryTables& rotary,
                       const ForwardContext& context) const;
  Tensor attention(int64_t index, const Tensor& x_TD, const RotaryTables& rotary,
                   const ForwardContext& context) const;
  Tensor attention_core(int64_t index, const Tensor& q_THA, const Tensor& k_THA,
                        const Tensor& v_THA, const ForwardContext& context) const;
  Tensor mlp(int64_t index, const Tensor& x_TD, const ForwardContext& context) const;
  Tensor linear(int64_t index, LinearKind kind, const Tensor& x_TD,
                const ForwardContext& context) const;
  Tensor norm(const Tensor& x, const Tensor& weight, const ForwardContext& context) const;

  Architecture architecture_;
  const AdapterSet& adapters_;
  std::vector<Layer> layers_;
  Tensor embedding_VD_;
  Tensor final_norm_D_;
  Tensor head_weight_VD_;
  Tensor rotary_frequencies_;
};

}  // namespace molora
