// The causal language model: a frozen decoder with adapters in its linears.
//
//   x = embed(ids)
//   per layer:  h = x + o(attend(q(n), k(n), v(n)))  with n = norm(x), q and k rotated
//               x = h + down(silu(gate(m)) * up(m))  with m = norm(h), or, where experts are whole
//                                                    MLPs, model/block_experts.h
//   hidden = norm(x);  logits = head(hidden)
//
// Over tp ranks: heads, MLP channels and vocabulary rows are shared out, norms are whole, and every
// rank of the group is given the same batch. Collectives of a forward pass, all on tp, besides
// those of the adapters (model/parallel_linear.h):
//   embedding     sum of the rows that each rank has   (reduce-scatter with sequence parallelism)
//   per layer     column_linears(q, k, v), row_linear(o), column_linears(gate, up),
//   row_linear(down) head_states   border of the head: copy_to, or gather_rows of the selected
//   states
//
//   T tokens of the batch, t of this rank, D hidden, F MLP, V vocabulary, H heads, A head size
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include <ATen/ATen.h>

#include "model/adapter.h"
#include "model/architecture.h"
#include "model/base_weights.h"
#include "model/block_experts.h"
#include "model/forward_context.h"
#include "model/molora_linear.h"
#include "model/parallel_layout.h"
#include "model/parallel_linear.h"
#include "model/rope.h"
#include "parallel/rounds.h"

namespace molora {

using at::Tensor;

// Refers to layout, weights and adapters that it is given; all must outlive it.
class CausalLM {
 public:
  // weights, adapters: this rank's slices. Magnitudes (DoRA) that are all zero begin here, with the
  // norms of the base: collective over tp with such adapters.
  CausalLM(const Architecture& architecture, const BaseWeights& weights, const AdapterSet& adapters,
           const ParallelLayout& layout);

  // The final normalised state of every token: [tokens, hidden] on every rank, or this rank's
  // tokens with sequence parallelism in training. Differentiable with respect to the adapters when
  // gradients are recorded. A batch without tokens gives an empty, connected result. Collective
  // over the tp group, and over the ranks that exchange tokens or experts with it.
  Tensor hidden_states(const ForwardContext& context) const;

  // Takes part in the evaluation passes of other ranks until none has work. For a rank that is done
  // with its own, where experts lie across ranks with different tokens; elsewhere it returns at
  // once. Collective over all ranks.
  void join_others() const;

  // The states of these tokens of the batch as the head reads them, [selected, hidden] on every
  // rank: inside the border of a column-parallel linear. tokens_N: int64, ascending, on the CPU:
  // how many of them each rank has is known to the host.
  Tensor head_states(const Tensor& hidden, const Tensor& tokens_N,
                     const ForwardContext& context) const;

  // This rank's rows of the output matrix, [vocabulary held, hidden]: the embedding itself when the
  // head is tied. Frozen.
  const Tensor& head_weight_vD() const { return head_weight_vD_; }
  // Which rows of the vocabulary those are.
  const Slice& vocabulary() const { return vocabulary_; }

  // Logits of these states over this rank's vocabulary, in fp32 (fp64 when the model computes in
  // fp64): [rows, vocabulary held].
  Tensor own_logits(const Tensor& states_ND) const;
  // Over the whole vocabulary, on every rank: [rows, vocabulary]. One collective on tp.
  Tensor logits(const Tensor& states_ND) const;

  const Architecture& architecture() const { return architecture_; }
  const AdapterSet& adapters() const { return adapters_; }
  const ParallelLayout& layout() const { return layout_; }
  at::ScalarType compute_type() const { return embedding_vD_.scalar_type(); }
  // Where the weights are, and where batches have to be.
  at::Device device() const { return embedding_vD_.device(); }

 private:
  struct Layer {
    Tensor input_norm_D;
    Tensor post_attention_norm_D;
    Tensor q_norm_A;  // undefined without q/k norm
    Tensor k_norm_A;
    FrozenLinear linears[kLinearKinds.size()];
  };
  // A forward pass with what all its layers need.
  struct Pass {
    ForwardPass at;
    RotaryTables rotary;
  };

  void begin_magnitudes();
  Tensor run_layers(const ForwardContext& context) const;
  Tensor embed(const ForwardPass& pass) const;
  Tensor layer_forward(int64_t index, const Tensor& x_TD, const Pass& pass) const;
  Tensor attention(int64_t index, const Tensor& x_TD, const Pass& pass) const;
  Tensor attention_core(int64_t index, const Tensor& q_THA, const Tensor& k_THA,
                        const Tensor& v_THA, const ForwardContext& context) const;
  Tensor mlp(int64_t index, const Tensor& x_TD, const Pass& pass) const;
  Tensor block_mlp(int64_t index, const Tensor& x_TD, const BlockLinears& block,
                   const Pass& pass) const;
  SplitLinear linear(int64_t index, LinearKind kind) const;
  Tensor norm(const Tensor& x, const Tensor& weight, const ForwardContext& context) const;

  Architecture architecture_;
  const AdapterSet& adapters_;
  const ParallelLayout& layout_;
  std::vector<Layer> layers_;
  Slice vocabulary_;
  Tensor embedding_vD_;
  Tensor final_norm_D_;
  Tensor head_weight_vD_;
  Tensor rotary_frequencies_;
  mutable std::optional<Rounds> rounds_;  // where passes of ranks with different tokens meet
};

}  // namespace molora
