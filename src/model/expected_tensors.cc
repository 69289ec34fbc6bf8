#include "model/expected_tensors.h"

#include <fmt/format.h>

#include "base/check.h"
#include "parallel/shard.h"

namespace molora {

namespace {

void add_linear(std::vector<ExpectedTensor>& list, const std::string& name,
                const Shape& weight_shape, bool has_bias, TensorSplit split) {
  list.push_back(
      {.name = name + ".weight", .shape = weight_shape, .split = split, .is_linear_weight = true});
  // A row-parallel linear adds its bias once, to the sum over the ranks.
  const TensorSplit bias_split = split == TensorSplit::kColumns ? TensorSplit::kWhole : split;
  if (has_bias) list.push_back({name + ".bias", {weight_shape[0]}, bias_split});
}

void add_layer(std::vector<ExpectedTensor>& list, const Architecture& a, const std::string& layer) {
  const std::string attention = layer + "self_attn.";
  const Shape gate_shape = {a.intermediate_size, a.hidden_size};
  list.push_back({layer + "input_layernorm.weight", {a.hidden_size}});
  add_linear(list, attention + "q_proj", {a.q_size(), a.hidden_size}, a.has_qkv_bias,
             TensorSplit::kRows);
  add_linear(list, attention + "k_proj", {a.kv_size(), a.hidden_size}, a.has_qkv_bias,
             TensorSplit::kKvHeadRows);
  add_linear(list, attention + "v_proj", {a.kv_size(), a.hidden_size}, a.has_qkv_bias,
             TensorSplit::kKvHeadRows);
  if (a.has_qk_norm) {
    list.push_back({attention + "q_norm.weight", {a.head_dim}});
    list.push_back({attention + "k_norm.weight", {a.head_dim}});
  }
  add_linear(list, attention + "o_proj", {a.hidden_size, a.q_size()}, a.has_o_bias,
             TensorSplit::kColumns);
  list.push_back({layer + "post_attention_layernorm.weight", {a.hidden_size}});
  add_linear(list, layer + "mlp.gate_proj", gate_shape, a.has_mlp_bias, TensorSplit::kRows);
  add_linear(list, layer + "mlp.up_proj", gate_shape, a.has_mlp_bias, TensorSplit::kRows);
  add_linear(list, layer + "mlp.down_proj", {a.hidden_size, a.intermediate_size}, a.has_mlp_bias,
             TensorSplit::kColumns);
}

// The range of dim `dim` as a box, the other dims whole.
TensorBox box_of(const Shape& whole, size_t dim, const Slice& slice) {
  TensorBox box{Shape(whole.size(), 0), whole};
  box.offset.at(dim) = slice.begin;
  box.shape.at(dim) = slice.length;
  return box;
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const Architecture& a) {
  const Shape vocabulary_shape = {a.vocab_size, a.hidden_size};
  std::vector<ExpectedTensor> list;
  list.push_back({"model.embed_tokens.weight", vocabulary_shape, TensorSplit::kVocabularyRows});
  for (int64_t i = 0; i < a.num_layers; ++i) add_layer(list, a, fmt::format("model.layers.{}.", i));
  list.push_back({"model.norm.weight", {a.hidden_size}});
  if (!a.has_tied_head) {
    list.push_back({"lm_head.weight", vocabulary_shape, TensorSplit::kVocabularyRows});
  }
  return list;
}

TensorBox held_box(const Architecture& a, const ExpectedTensor& tensor, int64_t tp,
                   int64_t tp_rank) {
  MOLORA_CHECK(tp > 0 && tp_rank >= 0 && tp_rank < tp, "tp rank {} of {}", tp_rank, tp);
  // Even parts of q and o must be whole heads.
  MOLORA_CHECK(a.num_heads % tp == 0, "{} heads over {} ranks", a.num_heads, tp);
  const Shape& whole = tensor.shape;
  switch (tensor.split) {
    case TensorSplit::kWhole:
      break;
    case TensorSplit::kRows:
      return box_of(whole, 0, even_slice(whole.at(0), tp, tp_rank));
    case TensorSplit::kColumns:
      return box_of(whole, 1, even_slice(whole.at(1), tp, tp_rank));
    case TensorSplit::kKvHeadRows: {
      const Slice heads = kv_head_slice(a.num_kv_heads, tp, tp_rank);
      return box_of(whole, 0, {heads.begin * a.head_dim, heads.length * a.head_dim});
    }
    case TensorSplit::kVocabularyRows:
      return box_of(whole, 0, balanced_slice(whole.at(0), tp, tp_rank));
  }
  return {Shape(whole.size(), 0), whole};
}

}  // namespace molora
