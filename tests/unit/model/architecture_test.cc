#include "model/architecture.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/tiny_model.h"

namespace molora {
namespace {

using nlohmann::json;
using testing::tiny_config;

Architecture parse(const json& config, const std::vector<std::string>& ignored = {}) {
  return parse_architecture(config.dump(), "config.json", ignored);
}

TEST(Architecture, ReadsTheSizes) {
  const Architecture a = parse(tiny_config());
  EXPECT_EQ(a.family, Family::kQwen2);
  EXPECT_EQ(a.head_dim, 4);
  EXPECT_EQ(a.kv_size(), 8);
  EXPECT_TRUE(a.has_qkv_bias);
  EXPECT_FALSE(a.has_o_bias);
  EXPECT_TRUE(a.has_tied_head);
  EXPECT_EQ(a.attention_window, (std::vector<int64_t>{0, 0}));
}

TEST(Architecture, ReadsBothDialectsOfRope) {
  json old_style = tiny_config();
  old_style["rope_theta"] = 5e5;
  old_style["rope_scaling"] = {{"rope_type", "llama3"},
                               {"factor", 8.0},
                               {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0},
                               {"original_max_position_embeddings", 32}};
  json new_style = tiny_config();
  new_style.erase("rope_theta");
  new_style["rope_parameters"] = old_style["rope_scaling"];
  new_style["rope_parameters"]["rope_theta"] = 5e5;
  const Architecture a = parse(old_style);
  const Architecture b = parse(new_style);
  EXPECT_EQ(a.rope.theta, b.rope.theta);
  EXPECT_EQ(a.rope.llama3, b.rope.llama3);
  EXPECT_EQ(a.rope.llama3->factor, 8.0);
}

TEST(Architecture, DialectsThatDisagreeAreRefused) {
  json config = tiny_config();
  config["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 5e5}};
  EXPECT_THROW_WITH(parse(config), DataError, "disagrees");
}

TEST(Architecture, WindowFollowsTheRulesOfEachFamily) {
  json qwen = tiny_config();
  qwen["sliding_window"] = 8;
  EXPECT_EQ(parse(qwen).attention_window, (std::vector<int64_t>{0, 0}));
  qwen["use_sliding_window"] = true;
  qwen["max_window_layers"] = 1;
  EXPECT_EQ(parse(qwen).attention_window, (std::vector<int64_t>{0, 8}));
  json mistral = tiny_config();
  mistral["model_type"] = "mistral";
  mistral["architectures"] = {"MistralForCausalLM"};
  mistral["sliding_window"] = 8;
  EXPECT_EQ(parse(mistral).attention_window, (std::vector<int64_t>{8, 8}));
  mistral["sliding_window"] = nullptr;
  EXPECT_EQ(parse(mistral).attention_window, (std::vector<int64_t>{0, 0}));
}

TEST(Architecture, LayerTypesWin) {
  json config = tiny_config();
  config["sliding_window"] = 8;
  config["layer_types"] = {"sliding_attention", "full_attention"};
  EXPECT_EQ(parse(config).attention_window, (std::vector<int64_t>{8, 0}));
  config["layer_types"] = {"full_attention"};
  EXPECT_THROW_WITH(parse(config), DataError, "layer_types", "2 entries");
  config["layer_types"] = {"full_attention", "linear_attention"};
  EXPECT_THROW_WITH(parse(config), DataError, "layer_types[1]", "linear_attention");
}

TEST(Architecture, EosIsOneIdOrAList) {
  json config = tiny_config();
  EXPECT_TRUE(parse(config).eos_ids.empty());
  config["eos_token_id"] = 2;
  EXPECT_EQ(parse(config).eos_ids, (std::vector<int32_t>{2}));
  config["eos_token_id"] = {2, 3};
  EXPECT_EQ(parse(config).eos_ids, (std::vector<int32_t>{2, 3}));
}

TEST(Architecture, UnknownFieldIsRefusedUnlessNamed) {
  json config = tiny_config();
  config["attn_logit_softcapping"] = 50.0;
  EXPECT_THROW_WITH(parse(config), DataError, "config.json", "attn_logit_softcapping = 50.0",
                    "model.ignore_config_fields");
  EXPECT_NO_THROW(parse(config, {"attn_logit_softcapping"}));
}

// One change to a legal config, and words of the message that must refuse it.
struct Refusal {
  const char* name;
  json patch;  // RFC 7386 merge patch
  std::vector<std::string> words;
};

class ArchitectureRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(ArchitectureRefusal, NamesFieldAndReason) {
  json config = tiny_config();
  config.merge_patch(GetParam().patch);
  try {
    (void)parse(config);
    FAIL() << "was accepted";
  } catch (const DataError& error) {
    for (const std::string& word : GetParam().words) {
      EXPECT_THAT(error.what(), ::testing::HasSubstr(word));
    }
  }
}

json missing(const char* field) { return {{field, nullptr}}; }

INSTANTIATE_TEST_SUITE_P(
    All, ArchitectureRefusal,
    ::testing::Values(
        Refusal{"model_type", {{"model_type", "gemma2"}}, {"gemma2", "supported: llama"}},
        Refusal{"architectures",
                {{"architectures", {"Qwen2ForSequenceClassification"}}},
                {"architectures", "Qwen2ForCausalLM"}},
        Refusal{"no_vocab", missing("vocab_size"), {"vocab_size is missing"}},
        Refusal{"no_kv_heads", missing("num_key_value_heads"), {"num_key_value_heads is missing"}},
        Refusal{"zero", {{"hidden_size", 0}}, {"hidden_size is 0"}},
        Refusal{
            "text_size", {{"hidden_size", "16"}}, {"hidden_size is \"16\"", "positive integer"}},
        Refusal{"huge", {{"hidden_size", 1e18}}, {"hidden_size"}},
        Refusal{"heads", {{"num_key_value_heads", 3}}, {"not a multiple"}},
        Refusal{"head_dim", {{"num_attention_heads", 6}, {"num_key_value_heads", 6}}, {"head_dim"}},
        Refusal{"odd_head", {{"head_dim", 5}}, {"odd"}},
        Refusal{"activation", {{"hidden_act", "gelu"}}, {"hidden_act", "gelu"}},
        Refusal{"dropout", {{"attention_dropout", 0.1}}, {"attention_dropout"}},
        Refusal{"quantised", {{"quantization_config", {{"bits", 4}}}}, {"quantization_config"}},
        Refusal{"partial_rotary", {{"partial_rotary_factor", 0.5}}, {"partial_rotary_factor"}},
        Refusal{"qwen2_bias", {{"attention_bias", false}}, {"attention_bias"}},
        Refusal{"mlp_bias", {{"mlp_bias", true}}, {"mlp_bias"}},
        Refusal{"rope_type",
                {{"rope_scaling", {{"type", "yarn"}, {"factor", 4.0}}}},
                {"yarn", "supported: default, llama3"}},
        Refusal{"rope_field",
                {{"rope_scaling", {{"type", "default"}, {"factor", 4.0}}}},
                {"rope_scaling.factor"}},
        Refusal{"rope_llama3",
                {{"rope_scaling", {{"type", "llama3"}, {"factor", 4.0}}}},
                {"low_freq_factor"}},
        Refusal{"rope_theta", {{"rope_theta", -1.0}}, {"rope_theta"}},
        Refusal{"flag", {{"tie_word_embeddings", 1}}, {"tie_word_embeddings", "true or false"}},
        Refusal{"window", {{"sliding_window", -4}}, {"sliding_window"}},
        Refusal{"eos", {{"eos_token_id", "</s>"}}, {"eos_token_id"}}),
    [](const auto& refusal) { return refusal.param.name; });

TEST(Architecture, ItMustBeAnObject) {
  EXPECT_THROW_WITH(parse_architecture("[]", "config.json", {}), DataError, "not a JSON object");
  EXPECT_THROW_WITH(parse_architecture("{", "config.json", {}), DataError,
                    "config.json: expected JSON");
  EXPECT_THROW_WITH(parse_architecture(R"({"vocab_size": 1, "vocab_size": 2})", "config.json", {}),
                    DataError, "config.json: expected each key once, got \"vocab_size\" twice");
}

}  // namespace
}  // namespace molora
