#include "model/decoder.h"

#include <algorithm>
#include <memory>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/mutation.h"
#include "device/compute_device.h"
#include "kernels/causal_attention.h"
#include "kernels/kernel_choice.h"
#include "kernels/norm.h"
#include "kernels/swiglu.h"
#include "model/attention.h"
#include "model/dora.h"
#include "model/recompute.h"
#include "parallel/regions.h"
#include "parallel/tensor_collectives.h"
#include "watch/place.h"

namespace molora {

namespace {

// Where the collectives of these parts come from, for reports of a hang.
WorkPlace forward_place(const char* part, int64_t layer = WorkPlace::kNoLayer) {
  return {static_cast<int32_t>(layer), Direction::kForward, part};
}

// Whether ranks that work on different tokens take part in each other's passes.
bool experts_lie_across_data(const MeshShape& shape, const AdapterSet& adapters) {
  const bool are_exchanged =
      std::any_of(adapters.linears().begin(), adapters.linears().end(), [](const auto& linear) {
        return linear.place.mode == ExchangeMode::kTokens ||
               linear.place.mode == ExchangeMode::kGather;
      });
  // ep groups are neighbours, and so are tp groups: one lies within the other or does not.
  return are_exchanged && shape.tp % shape.ep != 0;
}

}  // namespace

CausalLM::CausalLM(const Architecture& architecture, const BaseWeights& weights,
                   const AdapterSet& adapters, const ParallelLayout& layout)
    : architecture_(architecture),
      adapters_(adapters),
      layout_(layout),
      vocabulary_(balanced_slice(architecture.vocab_size, layout.tp().size(), layout.tp().rank())) {
  for (int64_t i = 0; i < architecture_.num_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    Layer layer;
    layer.input_norm_D = weights.get(prefix + "input_layernorm.weight");
    layer.post_attention_norm_D = weights.get(prefix + "post_attention_layernorm.weight");
    layer.q_norm_A = weights.get(prefix + "self_attn.q_norm.weight");
    layer.k_norm_A = weights.get(prefix + "self_attn.k_norm.weight");
    for (const LinearKind kind : kLinearKinds) {
      const std::string name = prefix + linear_path(kind);
      FrozenLinear& linear = layer.linears[static_cast<size_t>(kind)];
      linear.quantized_OD = weights.quantized(name + ".weight");
      if (!linear.quantized_OD) linear.weight_OD = weights.get(name + ".weight");
      linear.bias_O = weights.get(name + ".bias");
    }
    layers_.push_back(layer);
  }
  embedding_vD_ = weights.get("model.embed_tokens.weight");
  MOLORA_CHECK_EQ(embedding_vD_.size(0), vocabulary_.length, "vocabulary rows of this rank");
  final_norm_D_ = weights.get("model.norm.weight");
  head_weight_vD_ = architecture_.has_tied_head ? embedding_vD_ : weights.get("lm_head.weight");
  rotary_frequencies_ = rotary_frequencies(architecture_, embedding_vD_.scalar_type()).to(device());
  begin_magnitudes();
  if (experts_lie_across_data(layout.mesh.shape(), adapters)) {
    rounds_.emplace(layout.mesh.host(Axis::kAll));
  }
}

// DoRA begins as the base: with magnitudes that are the norms of its rows.
void CausalLM::begin_magnitudes() {
  const at::NoGradGuard no_grad;
  for (int64_t i = 0; i < architecture_.num_layers; ++i) {
    for (const LinearKind kind : kLinearKinds) {
      const SplitLinear of = linear(i, kind);
      if (of.adapter == nullptr || !of.adapter->spec.is_dora) continue;
      Communicator* tp =
          is_column_parallel(kind) || layout_.tp().size() == 1 ? nullptr : &layout_.tp();
      const Tensor norms_O = dora_norms(*of.base, *of.adapter, tp);
      const Tensor value_O = of.adapter->magnitude.detach();
      if (value_O.count_nonzero().item<int64_t>() == 0) value_O.copy_(norms_O);
    }
  }
}

Tensor CausalLM::hidden_states(const ForwardContext& context) const {
  if (rounds_ && context.mode == ForwardMode::kEval) {
    const PlaceScope scope(forward_place("round"));
    rounds_->begin_with_work();
  }
  return run_layers(context);
}

void CausalLM::join_others() const {
  if (!rounds_) return;
  const at::NoGradGuard no_grad;
  const TokenBatch nothing = on_device(make_token_batch({}, {}), device());
  const PlaceScope scope(forward_place("round"));
  while (rounds_->others_have_work()) (void)run_layers({.batch = nothing});
}

Tensor CausalLM::run_layers(const ForwardContext& context) const {
  const auto observe = [&](int64_t k, const Tensor& x) {
    if (context.on_hidden) context.on_hidden(k, x);
  };
  const auto pass = std::make_shared<const Pass>(
      Pass{ForwardPass(layout_, context),
           rotary_tables(rotary_frequencies_, context.batch.positions_T, compute_type())});
  Tensor x_TD = embed(pass->at);
  for (int64_t i = 0; i < architecture_.num_layers; ++i) {
    observe(i, x_TD);
    if (context.recompute == TrainConfig::full && at::GradMode::is_enabled()) {
      // The context lives until the backward pass of this batch is over (the trainer holds it).
      const auto run = [this, i, pass](const std::vector<Tensor>& inputs) {
        return layer_forward(i, inputs[0], *pass);
      };
      x_TD = recompute_in_backward(run, {x_TD});
    } else {
      x_TD = layer_forward(i, x_TD, *pass);
    }
  }
  x_TD = norm(x_TD, final_norm_D_, context);
  observe(architecture_.num_layers, x_TD);
  return x_TD;
}

// Every token's row comes from the one rank that has it; the others add exact zeros.
Tensor CausalLM::embed(const ForwardPass& pass) const {
  const PlaceScope scope(forward_place("embedding"));
  const Tensor& ids_T = pass.context().batch.ids_T;
  if (pass.tp().size() == 1) return embedding_vD_.index_select(0, ids_T);
  const Tensor is_here_T = (ids_T >= vocabulary_.begin).logical_and(ids_T < vocabulary_.end());
  const Tensor row_T = at::where(is_here_T, ids_T - vocabulary_.begin, 0);
  const Tensor partial_TD =
      embedding_vD_.index_select(0, row_T).masked_fill(is_here_T.logical_not().unsqueeze(1), 0.0);
  if (MOLORA_MUTANT(kEmbeddingWithoutSum)) {
    return pass.is_sequence_split()
               ? partial_TD.slice(0, pass.own_tokens().begin, pass.own_tokens().end())
               : partial_TD;
  }
  return pass.is_sequence_split() ? reduce_scatter_rows(pass.tp(), partial_TD, pass.token_rows())
                                  : all_reduce_sum(pass.tp(), partial_TD);
}

Tensor CausalLM::head_states(const Tensor& hidden, const Tensor& tokens_N,
                             const ForwardContext& context) const {
  const PlaceScope scope(forward_place("head"));
  const ForwardPass pass(layout_, context);
  MOLORA_CHECK(tokens_N.is_cpu(), "the host has to know which tokens are asked for");
  if (!pass.is_sequence_split()) {
    const Tensor states_ND = hidden.index_select(0, to_device(tokens_N, device()));
    return MOLORA_MUTANT(kHeadGradientPartial) ? states_ND : copy_to(pass.tp(), states_ND);
  }
  // Each rank has the states of its own tokens; as tokens_N ascends, so do the ranks' parts of it.
  std::vector<int64_t> rows;
  Tensor own_n;
  int64_t begin = 0;
  for (int rank = 0; rank < pass.tp().size(); ++rank) {
    const Slice tokens = balanced_slice(pass.num_tokens(), pass.tp().size(), rank);
    const Tensor is_of_rank_N = (tokens_N >= tokens.begin).logical_and(tokens_N < tokens.end());
    const auto count = is_of_rank_N.sum().item<int64_t>();
    if (rank == pass.tp().rank()) {
      own_n = tokens_N.slice(0, begin, begin + count) - tokens.begin;
    }
    begin += count;
    rows.push_back(count);
  }
  const Tensor own_states_nD = hidden.index_select(0, to_device(own_n, device()));
  const Tensor states_ND = gather_rows(pass.tp(), own_states_nD, rows);
  return MOLORA_MUTANT(kHeadStatesReversed) ? states_ND.flip(0) : states_ND;
}

Tensor CausalLM::own_logits(const Tensor& states_ND) const {
  const Tensor logits_Nv = at::linear(states_ND, head_weight_vD_);
  return logits_Nv.scalar_type() == at::kDouble ? logits_Nv : logits_Nv.to(at::kFloat);
}

Tensor CausalLM::logits(const Tensor& states_ND) const {
  const PlaceScope scope(forward_place("logits"));
  const Tensor own_Nv = own_logits(states_ND);
  if (MOLORA_MUTANT(kLogitsOwnOnly)) {
    return at::constant_pad_nd(
        own_Nv, {vocabulary_.begin, architecture_.vocab_size - vocabulary_.end()}, 0.0);
  }
  return all_gather_columns(layout_.tp(), own_Nv,
                            balanced_lengths(architecture_.vocab_size, layout_.tp().size()));
}

Tensor CausalLM::layer_forward(int64_t index, const Tensor& x_TD, const Pass& pass) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const ForwardContext& context = pass.at.context();
  const Tensor h_TD = x_TD + attention(index, norm(x_TD, layer.input_norm_D, context), pass);
  return h_TD + mlp(index, norm(h_TD, layer.post_attention_norm_D, context), pass);
}

Tensor CausalLM::attention(int64_t index, const Tensor& x_TD, const Pass& pass) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const ForwardContext& context = pass.at.context();
  const SplitLinear qkv[] = {linear(index, LinearKind::kQ), linear(index, LinearKind::kK),
                             linear(index, LinearKind::kV)};
  const std::vector<Tensor> outputs = [&] {
    const PlaceScope scope(forward_place("qkv_proj", index));
    return column_linears(x_TD, qkv, pass.at);
  }();
  const auto heads = [&](const Tensor& x) { return x.unflatten(1, {-1, architecture_.head_dim}); };
  Tensor q_THA = heads(outputs[0]);
  Tensor k_THA = heads(outputs[1]);
  const Tensor v_THA = heads(outputs[2]);
  if (layer.q_norm_A.defined()) {
    q_THA = norm(q_THA, layer.q_norm_A, context);
    k_THA = norm(k_THA, layer.k_norm_A, context);
  }
  q_THA = apply_rotary(q_THA, pass.rotary);
  k_THA = apply_rotary(k_THA, pass.rotary);
  const PlaceScope scope(forward_place("o_proj", index));
  return row_linear(attention_core(index, q_THA, k_THA, v_THA, context),
                    linear(index, LinearKind::kO), pass.at);
}

Tensor CausalLM::attention_core(int64_t index, const Tensor& q_THA, const Tensor& k_THA,
                                const Tensor& v_THA, const ForwardContext& context) const {
  const int64_t window = architecture_.attention_window[static_cast<size_t>(index)];
  const std::vector<int64_t>& starts = context.batch.starts;
  if (context.cache != nullptr) {
    return attend_cached(q_THA, k_THA, v_THA, starts, window, index, *context.cache);
  }
  if (can_attend_packed(q_THA)) {
    // The kernel keeps no more than its inputs and results: there is nothing to recompute.
    return attend_packed(q_THA, k_THA, v_THA, {context.batch.starts_S, context.batch.longest},
                         window);
  }
  // Nor does this way.
  if (host_kernels_wanted(q_THA) && q_THA.size(0) > 0) {
    return causal_attention(q_THA, k_THA, v_THA, starts, window).flatten(1);
  }
  return recompute_where_selective(context.recompute, {q_THA, k_THA, v_THA},
                                   [starts, window](const std::vector<Tensor>& in) {
                                     return attend(in[0], in[1], in[2], starts, window);
                                   });
}

Tensor CausalLM::mlp(int64_t index, const Tensor& x_TD, const Pass& pass) const {
  const BlockLinears block = {linear(index, LinearKind::kGate), linear(index, LinearKind::kUp),
                              linear(index, LinearKind::kDown)};
  if (has_block_experts(block)) return block_mlp(index, x_TD, block, pass);
  const SplitLinear gate_up[] = {linear(index, LinearKind::kGate), linear(index, LinearKind::kUp)};
  const std::vector<Tensor> outputs = [&] {
    const PlaceScope scope(forward_place("gate_up_proj", index));
    return column_linears(x_TD, gate_up, pass.at);
  }();
  const PlaceScope scope(forward_place("down_proj", index));
  const Tensor mixed_TF =
      recompute_where_selective(pass.at.context().recompute, outputs,
                                [](const std::vector<Tensor>& in) { return swiglu(in[0], in[1]); });
  return row_linear(mixed_TF, linear(index, LinearKind::kDown), pass.at);
}

Tensor CausalLM::block_mlp(int64_t index, const Tensor& x_TD, const BlockLinears& block,
                           const Pass& pass) const {
  const BlockStates states = [&] {
    const PlaceScope scope(forward_place("gate_up_proj", index));
    return block_states(x_TD, block, pass.at);
  }();
  const PlaceScope scope(forward_place("down_proj", index));
  return block_output(states, block.down, pass.at);
}

SplitLinear CausalLM::linear(int64_t index, LinearKind kind) const {
  return {&layers_[static_cast<size_t>(index)].linears[static_cast<size_t>(kind)],
          adapters_.find(index, kind)};
}

Tensor CausalLM::norm(const Tensor& x, const Tensor& weight, const ForwardContext& context) const {
  const double eps = architecture_.rms_norm_eps;
  return recompute_where_selective(
      context.recompute, {x},
      [weight, eps](const std::vector<Tensor>& in) { return rms_norm(in[0], weight, eps); });
}

}  // namespace molora
