#include "tokenizer/tokenizer_json.h"

#include <functional>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/tiny_tokenizer.h"

namespace molora {
namespace {

using testing::added_token;
using testing::byte_fallback_json;
using testing::byte_level_json;
using testing::json;
using testing::parse_tokenizer;

TEST(TokenizerJson, TextThatIsNoJsonIsRefused) {
  for (const char* text : {"[]", "null"}) {
    EXPECT_THROW_WITH(parse_tokenizer_json(text, "x.json"), DataError,
                      "x.json: is not a JSON object");
  }
  for (const char* text : {"", "{", "\xFF", "{\"a\": \"\\ud800\"}"}) {
    EXPECT_THROW_WITH(parse_tokenizer_json(text, "x.json"), DataError,
                      "x.json: expected JSON, got at byte");
  }
  EXPECT_THROW_WITH(parse_tokenizer_json(R"({"a": 1, "a": 2})", "x.json"), DataError,
                    "x.json: expected each key once, got \"a\" twice");
}

TEST(TokenizerJson, PaddingToTheLongestOfABatchChangesNothing) {
  json document = byte_level_json({});
  document["padding"] = {{"strategy", "BatchLongest"}, {"pad_to_multiple_of", nullptr}};
  EXPECT_EQ(parse_tokenizer(document)->encode("a"), std::vector<TokenId>{'a'});
}

TEST(TokenizerJson, DropoutOfZeroIsNone) {
  json document = byte_level_json({});
  document["model"]["dropout"] = 0.0;
  EXPECT_EQ(parse_tokenizer(document)->encode("a"), std::vector<TokenId>{'a'});
}

struct Refusal {
  const char* name;
  std::function<void(json&)> damage;  // of byte_fallback_json({{"a", "b"}})
  const char* message;
};
class TokenizerJsonRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(TokenizerJsonRefusal, NamesTheFileAndTheReason) {
  json document = byte_fallback_json({{"a", "b"}});
  GetParam().damage(document);
  EXPECT_THROW_WITH(parse_tokenizer(document), DataError, "tiny.json", GetParam().message);
}

json template_of(const json& single) {
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"special_tokens", {{"<s>", {{"id", "<s>"}, {"ids", {1}}}}}}};
}
const json kText = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
const json kSecondText = {{"Sequence", {{"id", "B"}, {"type_id", 0}}}};

json token_piece(const char* name) { return {{"SpecialToken", {{"id", name}, {"type_id", 0}}}}; }

INSTANTIATE_TEST_SUITE_P(
    All, TokenizerJsonRefusal,
    ::testing::Values(
        Refusal{"version", [](json& d) { d["version"] = "2.0"; }, "version 2.0 is not supported"},
        Refusal{"truncation",
                [](json& d) {
                  d["truncation"] = {{"max_length", 8}};
                },
                "truncation: is not supported"},
        Refusal{"padding",
                [](json& d) {
                  d["padding"] = {{"strategy", {{"Fixed", 8}}}};
                },
                "padding: is not supported"},
        Refusal{"no_model", [](json& d) { d.erase("model"); }, "has no model"},
        Refusal{"unigram", [](json& d) { d["model"]["type"] = "Unigram"; },
                "model: model Unigram is not supported"},
        Refusal{"wordpiece", [](json& d) { d["model"]["type"] = "WordPiece"; },
                "model WordPiece is not supported"},
        Refusal{"dropout", [](json& d) { d["model"]["dropout"] = 0.1; },
                "model.dropout: is not supported"},
        Refusal{"prefix", [](json& d) { d["model"]["continuing_subword_prefix"] = "##"; },
                "continuing_subword_prefix: is not supported"},
        Refusal{"suffix", [](json& d) { d["model"]["end_of_word_suffix"] = "</w>"; },
                "end_of_word_suffix: is not supported"},
        Refusal{"unk", [](json& d) { d["model"]["unk_token"] = "<nope>"; },
                "unk_token: '<nope>' is not in the vocabulary"},
        Refusal{"fallback_of_bytes",
                [](json& d) {
                  d["pre_tokenizer"] = {{"type", "ByteLevel"}, {"add_prefix_space", false}};
                },
                "byte_fallback: is not supported together with ByteLevel"},
        Refusal{"vocab_list", [](json& d) { d["model"]["vocab"] = json::array(); },
                "model.vocab: is not an object"},
        Refusal{"vocab_id", [](json& d) { d["model"]["vocab"]["q"] = -1; },
                "vocab['q']: is not a whole number"},
        Refusal{"vocab_huge", [](json& d) { d["model"]["vocab"]["q"] = 1 << 30; },
                "vocab['q']: id 1073741824 is beyond"},
        Refusal{"vocab_twice", [](json& d) { d["model"]["vocab"]["q"] = 5; }, "have one id, 5"},
        Refusal{"merges_object", [](json& d) { d["model"]["merges"] = 1; },
                "model.merges: is not a list"},
        Refusal{"merge_kind", [](json& d) { d["model"]["merges"].push_back(1); },
                "merges[1]: is not a pair of tokens"},
        Refusal{"merge_three",
                [](json& d) {
                  d["model"]["merges"].push_back({"a", "b", "c"});
                },
                "merges[1]: is not a pair of tokens"},
        Refusal{"merge_text", [](json& d) { d["model"]["merges"].push_back("a b c"); },
                "merges[1]: is not two tokens"},
        Refusal{"merge_left", [](json& d) { d["model"]["merges"].push_back("A b"); },
                "merge 1 ('A' and 'b') needs token 'A'"},
        Refusal{"merge_right", [](json& d) { d["model"]["merges"].push_back("a B"); },
                "needs token 'B'"},
        Refusal{"merge_result", [](json& d) { d["model"]["merges"].push_back("b a"); },
                "needs token 'ba'"},
        Refusal{"processor",
                [](json& d) {
                  d["post_processor"] = {{"type", "BertProcessing"}};
                },
                "post-processor BertProcessing is not supported"},
        Refusal{"template_token",
                [](json& d) {
                  d["post_processor"] = template_of({token_piece("<x>"), kText});
                },
                "single[0].SpecialToken: '<x>' is not among the special_tokens"},
        Refusal{
            "template_without_text",
            [](json& d) { d["post_processor"] = template_of(json::array({token_piece("<s>")})); },
            "does not hold the text exactly once"},
        Refusal{"template_second",
                [](json& d) {
                  d["post_processor"] = template_of({kText, kSecondText});
                },
                "sequence B in a template for one text"},
        Refusal{"template_id",
                [](json& d) {
                  d["post_processor"] = template_of({token_piece("<s>"), kText});
                  d["post_processor"]["special_tokens"]["<s>"]["ids"] = {1 << 30};
                },
                "ids[0]: is too large"},
        Refusal{"template_many",
                [](json& d) {
                  d["post_processor"] = template_of({token_piece("<s>"), kText});
                  d["post_processor"]["special_tokens"]["<s>"]["ids"] = std::vector<int>(2000, 1);
                },
                "adds too many tokens"},
        Refusal{"processor_deep",
                [](json& d) {
                  json inner = {{"type", "ByteLevel"}};
                  for (int i = 0; i < 25; ++i) {
                    inner = {{"type", "Sequence"}, {"processors", {inner}}};
                  }
                  d["post_processor"] = inner;
                },
                "nested too deeply"},
        Refusal{
            "first_after_strip",
            [](json& d) {
              d["normalizer"] = {{"type", "Strip"}, {"strip_left", true}, {"strip_right", false}};
              d["pre_tokenizer"] = {
                  {"type", "Metaspace"}, {"replacement", "_"}, {"prepend_scheme", "first"}};
            },
            "prepend_scheme 'first' is not supported after"},
        Refusal{"added_flag", [](json& d) { d["added_tokens"][0].erase("lstrip"); },
                "added_tokens[0]: has no lstrip"},
        Refusal{"added_empty", [](json& d) { d["added_tokens"][0]["content"] = ""; },
                "is a token without content"},
        Refusal{"added_twice", [](json& d) { d["added_tokens"].push_back(d["added_tokens"][0]); },
                "added_tokens[3]: is there twice"},
        Refusal{"added_known_id", [](json& d) { d["added_tokens"][0]["id"] = 9; },
                "added token '<unk>' has id 9, but the vocabulary gives it 0"},
        Refusal{"added_gap",
                [](json& d) {
                  d["added_tokens"].push_back(added_token(d, "<new>", {{"id", 999}}));
                },
                "added token '<new>' has id 999, but the next free one is 287"}),
    [](const auto& refusal) { return refusal.param.name; });

}  // namespace
}  // namespace molora
