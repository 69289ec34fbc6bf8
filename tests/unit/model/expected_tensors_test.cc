#include "model/expected_tensors.h"

#include <map>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/stored_model.h"

namespace molora {
namespace {

using testing::small_architecture;

// One layer with everything that a layer can have.
Architecture full_architecture(int64_t num_kv_heads) {
  Architecture a = small_architecture(num_kv_heads);
  a.num_layers = 1;
  a.has_qkv_bias = a.has_o_bias = a.has_mlp_bias = a.has_qk_norm = true;
  return a;
}

ExpectedTensor find(const Architecture& architecture, const std::string& name) {
  for (const ExpectedTensor& tensor : expected_tensors(architecture)) {
    if (tensor.name == name) return tensor;
  }
  ADD_FAILURE() << "no tensor " << name;
  return {};
}

TensorBox box(const Architecture& architecture, const std::string& name, int64_t tp,
              int64_t tp_rank) {
  return held_box(architecture, find(architecture, name), tp, tp_rank);
}

TEST(ExpectedTensors, SplitOfEveryTensorIsThatOfItsLinear) {
  using enum TensorSplit;
  const std::map<std::string, TensorSplit> splits = {
      {"model.embed_tokens.weight", kVocabularyRows},
      {"model.layers.0.input_layernorm.weight", kWhole},
      {"model.layers.0.self_attn.q_proj.weight", kRows},
      {"model.layers.0.self_attn.q_proj.bias", kRows},
      {"model.layers.0.self_attn.k_proj.weight", kKvHeadRows},
      {"model.layers.0.self_attn.k_proj.bias", kKvHeadRows},
      {"model.layers.0.self_attn.v_proj.weight", kKvHeadRows},
      {"model.layers.0.self_attn.v_proj.bias", kKvHeadRows},
      {"model.layers.0.self_attn.q_norm.weight", kWhole},
      {"model.layers.0.self_attn.k_norm.weight", kWhole},
      {"model.layers.0.self_attn.o_proj.weight", kColumns},
      {"model.layers.0.self_attn.o_proj.bias", kWhole},
      {"model.layers.0.post_attention_layernorm.weight", kWhole},
      {"model.layers.0.mlp.gate_proj.weight", kRows},
      {"model.layers.0.mlp.gate_proj.bias", kRows},
      {"model.layers.0.mlp.up_proj.weight", kRows},
      {"model.layers.0.mlp.up_proj.bias", kRows},
      {"model.layers.0.mlp.down_proj.weight", kColumns},
      {"model.layers.0.mlp.down_proj.bias", kWhole},
      {"model.norm.weight", kWhole},
      {"lm_head.weight", kVocabularyRows}};
  std::map<std::string, TensorSplit> found;
  for (const ExpectedTensor& tensor : expected_tensors(full_architecture(6))) {
    found[tensor.name] = tensor.split;
  }
  EXPECT_EQ(found, splits);
}

TEST(HeldBox, RowsColumnsAndWholeTensors) {
  const Architecture a = full_architecture(6);
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(box(a, layer + "self_attn.q_proj.weight", 3, 1), (TensorBox{{16, 0}, {16, 15}}));
  EXPECT_EQ(box(a, layer + "mlp.up_proj.bias", 3, 2), (TensorBox{{32}, {16}}));
  EXPECT_EQ(box(a, layer + "self_attn.o_proj.weight", 3, 2), (TensorBox{{0, 32}, {15, 16}}));
  EXPECT_EQ(box(a, layer + "mlp.down_proj.bias", 3, 2), (TensorBox{{0}, {15}}));
  EXPECT_EQ(box(a, "model.norm.weight", 3, 2), (TensorBox{{0}, {15}}));
}

TEST(HeldBox, VocabularyRowsAreBalanced) {
  const Architecture a = full_architecture(6);
  EXPECT_EQ(box(a, "model.embed_tokens.weight", 6, 0), (TensorBox{{0, 0}, {7, 15}}));
  EXPECT_EQ(box(a, "lm_head.weight", 6, 5), (TensorBox{{31, 0}, {6, 15}}));
}

TEST(HeldBox, KeyValueHeadsStayWholeAndAreHeldByNeighboursWhenThereAreFew) {
  const std::string k = "model.layers.0.self_attn.k_proj.weight";
  const std::string v_bias = "model.layers.0.self_attn.v_proj.bias";
  EXPECT_EQ(box(full_architecture(6), k, 3, 1), (TensorBox{{4, 0}, {4, 15}}));
  const Architecture few = full_architecture(2);
  EXPECT_EQ(box(few, k, 8, 3), (TensorBox{{0, 0}, {2, 15}}));
  EXPECT_EQ(box(few, k, 8, 4), (TensorBox{{2, 0}, {2, 15}}));
  EXPECT_EQ(box(few, v_bias, 8, 7), (TensorBox{{2}, {2}}));
}

TEST(HeldBox, HeadsThatDoNotDivideAreRefused) {
  Architecture a = full_architecture(6);
  const std::string q = "model.layers.0.self_attn.q_proj.weight";
  EXPECT_THROW_WITH((void)box(a, q, 16, 0), InternalError, "24 heads over 16 ranks");
  EXPECT_THROW_WITH((void)box(a, "model.layers.0.self_attn.k_proj.weight", 4, 0), InternalError,
                    "6 in 4 parts");
  EXPECT_THROW_WITH((void)box(a, q, 2, 2), InternalError, "tp rank 2 of 2");
}

}  // namespace
}  // namespace molora
