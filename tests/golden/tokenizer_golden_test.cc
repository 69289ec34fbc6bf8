// Every golden text of every tokenizer folder, exactly: ids, decoded text, ids with special tokens.
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "io/file.h"
#include "support/golden_paths.h"
#include "support/temp_folder.h"
#include "tokenizer/extra_tokens.h"
#include "tokenizer/sentencepiece_tokenizer.h"
#include "tokenizer/stream_decoder.h"
#include "tokenizer/tokenizer.h"

namespace molora {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using testing::TempFolder;

// One line of a golden file.
struct GoldenText {
  std::string where;
  json line;
};

std::vector<fs::path> golden_jsonl(const fs::path& folder) {
  std::vector<fs::path> files = testing::golden_files(folder, "golden", ".jsonl");
  for (const fs::path& file : testing::golden_files(folder, "tokenizer_golden", ".jsonl")) {
    files.push_back(file);
  }
  std::erase_if(files, [](const fs::path& file) {
    return file.filename().string().starts_with("golden_chat");  // of the chat templates
  });
  return files;
}

std::vector<fs::path> tokenizer_folders() {
  std::vector<fs::path> folders;
  for (const fs::path& root : {testing::tokenizer_golden_root(), testing::golden_root()}) {
    for (const auto& entry : fs::directory_iterator(root)) {
      if (entry.is_directory() && !golden_jsonl(entry.path()).empty()) {
        folders.push_back(entry.path());
      }
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

std::vector<GoldenText> golden_texts(const fs::path& folder) {
  std::vector<GoldenText> texts;
  for (const fs::path& path : golden_jsonl(folder)) {
    std::ifstream file(path);
    std::string line;
    for (int number = 1; std::getline(file, line); ++number) {
      texts.push_back({path.string() + ":" + std::to_string(number), json::parse(line)});
    }
  }
  return texts;
}

// What the goldens' `decoded` shows: special tokens as their text.
constexpr Tokenizer::DecodeOptions kWithSpecial{.skip_special = false};

std::string streamed(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
  const auto stream = tokenizer.stream_decoder(kWithSpecial);
  std::string text;
  for (const TokenId id : ids) text += stream->feed(id);
  return text + stream->finish();
}

void expect_golden(const Tokenizer& tokenizer, const fs::path& folder) {
  const std::vector<GoldenText> texts = golden_texts(folder);
  ASSERT_FALSE(texts.empty()) << "no golden texts in " << folder;
  for (const auto& [where, line] : texts) {
    const auto text = line.at("text").get<std::string>();
    const auto ids = line.at("ids").get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer.encode(text), ids) << where;
    const auto decoded = line.at("decoded").get<std::string>();
    EXPECT_EQ(tokenizer.decode(ids, kWithSpecial), decoded) << where;
    EXPECT_EQ(streamed(tokenizer, ids), decoded) << where;
    if (line.contains("ids_with_special")) {
      EXPECT_EQ(tokenizer.encode_with_special(text),
                line.at("ids_with_special").get<std::vector<TokenId>>())
          << where;
    }
  }
}

class TokenizerGolden : public ::testing::TestWithParam<fs::path> {};

TEST_P(TokenizerGolden, LoadedTokenizerGivesEveryIdAndText) {
  expect_golden(*load_tokenizer(GetParam()), GetParam());
}

TEST_P(TokenizerGolden, SentencePieceModelGivesEveryIdAndText) {
  const fs::path model = GetParam() / "tokenizer.model";
  if (!fs::exists(model)) GTEST_SKIP() << "no " << model;
  const auto tokenizer =
      parse_sentencepiece_model(read_file(model), model.string(), read_extra_tokens(GetParam()));
  expect_golden(*tokenizer, GetParam());
}

TEST_P(TokenizerGolden, AddedTokensOfEveryFamilyHaveTheirIds) {
  const fs::path families = GetParam() / "added_tokens_by_family.json";
  if (!fs::exists(families)) GTEST_SKIP() << "no " << families;
  json tokenizer_json = testing::read_json(GetParam() / "tokenizer.json");
  const json by_family = testing::read_json(families);
  ASSERT_FALSE(by_family.empty());
  for (const auto& [family, tokens] : by_family.items()) {
    ASSERT_FALSE(tokens.empty()) << family;
    tokenizer_json["added_tokens"] = tokens;
    const TempFolder folder;
    folder.write("tokenizer.json", tokenizer_json.dump());
    const auto tokenizer = load_tokenizer(folder.path());
    std::vector<TokenId> all_ids;
    std::string all_text;
    for (const json& token : tokens) {
      const auto content = token.at("content").get<std::string>();
      const auto id = token.at("id").get<TokenId>();
      EXPECT_EQ(tokenizer->encode(content), std::vector<TokenId>{id}) << family;
      EXPECT_EQ(tokenizer->token_id(content), id) << family;
      EXPECT_EQ(tokenizer->is_special(id), token.at("special").get<bool>()) << family << content;
      EXPECT_EQ(tokenizer->decode({id}, kWithSpecial), content) << family;
      all_text += content;
      all_ids.push_back(id);
    }
    EXPECT_EQ(tokenizer->encode(all_text), all_ids) << family;
    EXPECT_EQ(tokenizer->vocab_size(), all_ids.back() + 1) << family;
  }
}

INSTANTIATE_TEST_SUITE_P(Folders, TokenizerGolden, ::testing::ValuesIn(tokenizer_folders()),
                         [](const auto& folder) { return testing::test_name(folder.param); });

}  // namespace
}  // namespace molora
