#include "model/decoder.h"

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "model/attention.h"
#include "model/recompute.h"

namespace molora {

namespace {

// Root-mean-square norm (Zhang & Sennrich 2019, arXiv 1910.07467), in at least fp32; the weight is
// applied in x's own type, as the published models do.
Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  const at::ScalarType precision = x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const Tensor wide = x.to(precision);
  const Tensor mean_square = wide.square().mean(-1, /*keepdim=*/true);
  return weight * (wide * at::rsqrt(mean_square + eps)).to(x.scalar_type());
}

// With `selective`, what is cheap in arithmetic but large in memory is computed again.
Tensor maybe_recompute(const ForwardContext& context, const std::vector<Tensor>& inputs,
                       const RecomputedFunction& function) {
  const bool again = context.recompute == TrainConfig::selective && at::GradMode::is_enabled();
  bool has_gradient = false;
  for (const Tensor& input : inputs) has_gradient = has_gradient || input.requires_grad();
  return again && has_gradient ? recompute_in_backward(function, inputs) : function(inputs);
}

}  // namespace

CausalLM::CausalLM(const Architecture& architecture, const BaseWeights& weights,
                   const AdapterSet& adapters)
    : architecture_(architecture), adapters_(adapters) {
  for (int64_t i = 0; i < architecture_.num_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    Layer layer;
    layer.input_norm_D = weights.get(prefix + "input_layernorm.weight");
    layer.post_attention_norm_D = weights.get(prefix + "post_attention_layernorm.weight");
    layer.q_norm_A = weights.get(prefix + "self_attn.q_norm.weight");
    layer.k_norm_A = weights.get(prefix + "self_attn.k_norm.weight");
    for (const LinearKind kind : kLinearKinds) {
      const std::string name = prefix + linear_path(kind);
      layer.linears[static_cast<size_t>(kind)] = {weights.get(name + ".weight"),
                                                  weights.get(name + ".bias")};
    }
    layers_.push_back(layer);
  }
  embedding_VD_ = weights.get("model.embed_tokens.weight");
  final_norm_D_ = weights.get("model.norm.weight");
  head_weight_VD_ = architecture_.has_tied_head ? embedding_VD_ : weights.get("lm_head.weight");
  rotary_frequencies_ = rotary_frequencies(architecture_, embedding_VD_.scalar_type());
}

Tensor CausalLM::hidden_states(const ForwardContext& context) const {
  const TokenBatch& batch = context.batch;
  const auto observe = [&](int64_t k, const Tensor& x) {
    if (context.on_hidden) context.on_hidden(k, x);
  };
  Tensor x_TD = embedding_VD_.index_select(0, batch.ids_T);
  const RotaryTables rotary =
      rotary_tables(rotary_frequencies_, batch.positions_T, x_TD.scalar_type());
  for (int64_t i = 0; i < architecture_.num_layers; ++i) {
    observe(i, x_TD);
    if (context.recompute == TrainConfig::full && at::GradMode::is_enabled()) {
      // The context lives until the backward pass of this batch is over (the trainer holds it).
      const auto run = [this, i, rotary, &context](const std::vector<Tensor>& inputs) {
        return layer_forward(i, inputs[0], rotary, context);
      };
      x_TD = recompute_in_backward(run, {x_TD});
    } else {
      x_TD = layer_forward(i, x_TD, rotary, context);
    }
  }
  x_TD = norm(x_TD, final_norm_D_, context);
  observe(architecture_.num_layers, x_TD);
  return x_TD;
}

Tensor CausalLM::logits(const Tensor& hidden_ND) const {
  const Tensor logits_NV = at::linear(hidden_ND, head_weight_VD_);
  return logits_NV.scalar_type() == at::kDouble ? logits_NV : logits_NV.to(at::kFloat);
}

Tensor CausalLM::layer_forward(int64_t index, const Tensor& x_TD, const RotaryTables& rotary,
                               const ForwardContext& context) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const Tensor h_TD =
      x_TD + attention(index, norm(x_TD, layer.input_norm_D, context), rotary, context);
  return h_TD + mlp(index, norm(h_TD, layer.post_attention_norm_D, context), context);
}

Tensor CausalLM::attention(int64_t index, const Tensor& x_TD, const RotaryTables& rotary,
                           const ForwardContext& context) const {
  const Layer& layer = layers_[static_cast<size_t>(index)];
  const int64_t head_dim = architecture_.head_dim;
  const auto heads = [&](LinearKind kind, int64_t count) {
    return linear(index, kind, x_TD, context).unflatten(1, {count, head_dim});
  };
  Tensor q_THA = heads(LinearKind::kQ, architecture_.num_heads);
  Tensor k_THA = heads(LinearKind::kK, architecture_.num_kv_heads);
  const Tensor v_THA = heads(LinearKind::kV, architecture_.num_kv_heads);
  if (layer.q_norm_A.defined()) {
    q_THA = norm(q_THA, layer.q_norm_A, context);
    k_THA = norm(k_THA, layer.k_norm_A, context);
  }
  q_THA = apply_rotary(q_THA, rotary);
  k_THA = apply_rotary(k_THA, rotary);
  return linear(index, LinearKind::kO, attention_core(index, q_THA, k_THA, v_THA, context),
                context);
}

Tensor CausalLM::attention_core(int64_t index, const Tensor& q_THA, const Tensor& k_THA,
                                const Tensor& v_THA, const ForwardContext& context) const {
  const int64_t window = architecture_.attention_window[static_cast<size_t>(index)];
  const std::vector<int64_t>& starts = context.batch.starts;
  if (context.cache != nullptr) {
    return attend_cached(q_THA, k_THA, v_THA, starts, window, index, *context.cache);
  }
  return maybe_recompute(context, {q_THA, k_THA, v_THA},
                         [starts, window](const std::vector<Tensor>& in) {
                           return attend(in[0], in[1], in[2], starts, window);
                         });
}

Tensor CausalLM::mlp(int64_t index, const Tensor& x_TD, const ForwardContext& context) const {
  const Tensor gate_TF = linear(index, LinearKind::kGate, x_TD, context);
  const Tensor up_TF = linear(index, LinearKind::kUp, x_TD, context);
  const Tensor mixed_TF =
      maybe_recompute(context, {gate_TF, up_TF},
                      [](const std::vector<Tensor>& in) { return at::silu(in[0]) * in[1]; });
  return linear(index, LinearKind::kDown, mixed_TF, context);
}

Tensor CausalLM::linear(int64_t index, LinearKind kind, const Tensor& x_TD,
                        const ForwardContext& context) const {
  const FrozenLinear& base = layers_[static_cast<size_t>(index)].linears[static_cast<size_t>(kind)];
  return adapted_linear(x_TD, base, adapters_.find(index, kind), context);
}

Tensor CausalLM::norm(const Tensor& x, const Tensor& weight, const ForwardContext& context) const {
  const double eps = architecture_.rms_norm_eps;
  return maybe_recompute(context, {x}, [weight, eps](const std::vector<Tensor>& in) {
    return rms_norm(in[0], weight, eps);
  });
}

}  // namespace molora
