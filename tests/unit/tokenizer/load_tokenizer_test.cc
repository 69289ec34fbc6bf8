// Folders of tokenizer files: which file counts, and what the small files beside it add.
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"
#include "support/tiny_tokenizer.h"
#include "tokenizer/tokenizer.h"

namespace molora {
namespace {

using testing::byte_level_json;
using testing::json;
using testing::TempFolder;
using Ids = std::vector<TokenId>;

const std::string kModel = "tests/assets/models/stories260k/tokenizer.model";

json config_token(const std::string& content, bool special) {
  return {{"content", content}, {"single_word", false}, {"lstrip", false},
          {"rstrip", false},    {"normalized", false},  {"special", special}};
}

void write_json(const TempFolder& folder, const char* name, const json& document) {
  folder.write(name, document.dump());
}

std::string load_fingerprint(const TempFolder& folder) {
  return load_tokenizer(folder.path())->fingerprint();
}

TEST(LoadTokenizer, AFolderWithoutATokenizerIsRefused) {
  const TempFolder folder;
  EXPECT_THROW_WITH((void)load_tokenizer(folder.path()), DataError, folder.path().string(),
                    "neither a tokenizer.json nor a tokenizer.model");
}

TEST(LoadTokenizer, TokenizerJsonComesBeforeTokenizerModel) {
  const TempFolder folder;
  folder.write("tokenizer.model", "not a model");
  write_json(folder, "tokenizer.json", byte_level_json({}));
  EXPECT_EQ(load_tokenizer(folder.path())->encode("a"), Ids{'a'});
}

TEST(LoadTokenizer, TokensOfTheConfigAreTakenOver) {
  const TempFolder folder;
  write_json(folder, "tokenizer.json", byte_level_json({}));
  const std::string before = load_fingerprint(folder);
  write_json(folder, "tokenizer_config.json",
             {{"added_tokens_decoder",
               {{"257", config_token("<b>", false)}, {"256", config_token("<a>", true)}}}});
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->encode("x<a><b>"), (Ids{'x', 256, 257}));
  EXPECT_TRUE(tokenizer->is_special(256));
  EXPECT_FALSE(tokenizer->is_special(257));
  EXPECT_NE(tokenizer->fingerprint(), before);
}

TEST(LoadTokenizer, WhatTheConfigRepeatsChangesNothing) {
  const TempFolder folder;
  json document = byte_level_json({});
  document["added_tokens"].push_back(testing::added_token(document, "<a>", {{"special", true}}));
  write_json(folder, "tokenizer.json", document);
  const std::string before = load_fingerprint(folder);
  write_json(
      folder, "tokenizer_config.json",
      {{"chat_template", "x"}, {"added_tokens_decoder", {{"256", config_token("<a>", true)}}}});
  EXPECT_EQ(load_fingerprint(folder), before);
}

TEST(LoadTokenizer, AddedTokensJsonIsReadWithTheSpecialNamesOfTheConfig) {
  const TempFolder folder;
  write_json(folder, "tokenizer.json", byte_level_json({}));
  write_json(folder, "added_tokens.json", {{"<pad>", 256}, {"word", 257}, {"<x>", 258}});
  write_json(folder, "tokenizer_config.json",
             {{"pad_token", {{"content", "<pad>"}}}, {"additional_special_tokens", {"<x>"}}});
  const auto tokenizer = load_tokenizer(folder.path());
  EXPECT_EQ(tokenizer->encode("<pad>word<x>"), (Ids{256, 257, 258}));
  EXPECT_TRUE(tokenizer->is_special(256));
  EXPECT_FALSE(tokenizer->is_special(257));
  EXPECT_TRUE(tokenizer->is_special(258));
}

struct Refusal {
  const char* name;
  const char* file;
  json content;
  const char* message;
};
class LoadTokenizerRefusal : public ::testing::TestWithParam<Refusal> {};

TEST_P(LoadTokenizerRefusal, NamesTheFileAndTheReason) {
  const TempFolder folder;
  json document = byte_level_json({});
  document["added_tokens"].push_back(testing::added_token(document, "<a>"));
  write_json(folder, "tokenizer.json", document);
  write_json(folder, GetParam().file, GetParam().content);
  EXPECT_THROW_WITH((void)load_tokenizer(folder.path()), DataError, GetParam().file,
                    GetParam().message);
}

INSTANTIATE_TEST_SUITE_P(
    All, LoadTokenizerRefusal,
    ::testing::Values(
        Refusal{"config_list", "tokenizer_config.json", json::array(), "is not a JSON object"},
        Refusal{"decoder_list",
                "tokenizer_config.json",
                {{"added_tokens_decoder", {1}}},
                "added_tokens_decoder: is not an object"},
        Refusal{"id_text",
                "tokenizer_config.json",
                {{"added_tokens_decoder", {{"25x", config_token("<b>", false)}}}},
                "'25x' is not the id of a token"},
        Refusal{"id_far",
                "tokenizer_config.json",
                {{"added_tokens_decoder", {{"300", config_token("<b>", false)}}}},
                "'<b>' has id 300, but the next free one is 257"},
        Refusal{"id_of_known",
                "tokenizer_config.json",
                {{"added_tokens_decoder", {{"300", config_token("<a>", false)}}}},
                "'<a>' has id 300, but the vocabulary gives it 256"},
        Refusal{"twice",
                "tokenizer_config.json",
                {{"added_tokens_decoder",
                  {{"257", config_token("<b>", false)}, {"258", config_token("<b>", false)}}}},
                "token 258 ('<b>') contradicts token 257 ('<b>')"},
        Refusal{"empty",
                "tokenizer_config.json",
                {{"added_tokens_decoder", {{"257", config_token("", false)}}}},
                "is a token without content"},
        Refusal{"flag",
                "tokenizer_config.json",
                {{"add_bos_token", 1}},
                "add_bos_token: is neither true nor false"},
        Refusal{"added_id", "added_tokens.json", {{"<b>", 1 << 30}}, "is not the id of a token"},
        Refusal{"added_negative", "added_tokens.json", {{"<b>", -3}}, "is not a whole number"}),
    [](const auto& refusal) { return refusal.param.name; });

class SentencePieceTokenizerFolder : public ::testing::Test {
 protected:
  SentencePieceTokenizerFolder() { folder_.write("tokenizer.model", testing::read_text(kModel)); }
  std::unique_ptr<Tokenizer> load(const json& config) {
    write_json(folder_, "tokenizer_config.json", config);
    return load_tokenizer(folder_.path());
  }
  TempFolder folder_;
};

TEST_F(SentencePieceTokenizerFolder, ControlTokensAreSpecial) {
  const auto tokenizer = load_tokenizer(folder_.path());
  EXPECT_EQ(tokenizer->token_id("<s>"), 1);
  EXPECT_TRUE(tokenizer->is_special(0));
  EXPECT_TRUE(tokenizer->is_special(1));
  EXPECT_FALSE(tokenizer->is_special(3));
  EXPECT_EQ(tokenizer->vocab_size(), 512);
  const Ids once = tokenizer->encode("once");
  EXPECT_EQ(tokenizer->encode("<s>"), Ids{1});
  const Ids literal = tokenizer->encode("<s>", SpecialTokens::kLiteral);
  EXPECT_GT(literal.size(), 1u);
  EXPECT_EQ(tokenizer->decode(literal), "<s>");
}

TEST_F(SentencePieceTokenizerFolder, TheModelAddsItsBeginTokenUnlessTold) {
  Ids ids = load_tokenizer(folder_.path())->encode_with_special("once");
  EXPECT_EQ(ids.front(), 1);
  EXPECT_NE(ids.back(), 2);
  ids = load({{"add_bos_token", false}, {"add_eos_token", true}})->encode_with_special("once");
  EXPECT_NE(ids.front(), 1);
  EXPECT_EQ(ids.back(), 2);
  ids = load({{"bos_token", "</s>"}})->encode_with_special("once");
  EXPECT_EQ(ids.front(), 2);
}

TEST_F(SentencePieceTokenizerFolder, LegacyDecidesWhetherTextAfterATokenBeginsAWord) {
  const auto legacy = load({{"legacy", true}});
  const auto current = load({{"legacy", false}});
  const TokenId marked = *legacy->token_id("\u2581a");
  const TokenId plain = *legacy->token_id("a");
  EXPECT_EQ(legacy->encode("a<s>a"), (Ids{marked, 1, marked}));
  EXPECT_EQ(current->encode("a<s>a"), (Ids{marked, 1, plain}));
  EXPECT_EQ(current->encode("a a"), (Ids{marked, marked}));
  EXPECT_NE(legacy->fingerprint(), current->fingerprint());
}

TEST_F(SentencePieceTokenizerFolder, AddedTokensKeepTheirIds) {
  const auto tokenizer =
      load({{"added_tokens_decoder",
             {{"1", config_token("<s>", true)}, {"600", config_token("<|user|>", true)}}}});
  EXPECT_EQ(tokenizer->encode("<|user|><s>"), (Ids{600, 1}));
  EXPECT_EQ(tokenizer->vocab_size(), 601);
  EXPECT_EQ(tokenizer->decode({600, 550}, {.skip_special = false}), "<|user|>");
}

TEST_F(SentencePieceTokenizerFolder, TextThatIsNotUtf8IsReplaced) {
  const auto tokenizer = load_tokenizer(folder_.path());
  EXPECT_EQ(tokenizer->encode("a\xFFz"), tokenizer->encode("a\uFFFDz"));
  EXPECT_EQ(tokenizer->decode(tokenizer->encode(std::string("a\0b", 3))), std::string("a\0b", 3));
}

TEST_F(SentencePieceTokenizerFolder, ContradictingIdsAreRefused) {
  EXPECT_THROW_WITH(load({{"added_tokens_decoder", {{"7", config_token("<s>", true)}}}}), DataError,
                    "tokenizer_config.json", "'<s>' has id 7, but the model gives it 1");
  EXPECT_THROW_WITH(load({{"added_tokens_decoder", {{"7", config_token("<q>", true)}}}}), DataError,
                    "tokenizer_config.json", "'<q>' has id 7, but the model gives that to");
}

TEST_F(SentencePieceTokenizerFolder, ABeginTokenThatIsNotThereIsRefused) {
  EXPECT_THROW_WITH(load({{"add_bos_token", true}, {"bos_token", "<begin>"}}), DataError,
                    "tokenizer_config.json", "add_bos_token", "'<begin>'");
}

TEST_F(SentencePieceTokenizerFolder, ADamagedModelIsRefused) {
  for (const std::string& content : {std::string("not a model"), std::string()}) {
    folder_.write("tokenizer.model", content);
    EXPECT_THROW_WITH((void)load_tokenizer(folder_.path()), DataError, "tokenizer.model",
                      "is not a SentencePiece model");
  }
}

}  // namespace
}  // namespace molora
