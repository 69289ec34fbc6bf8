// Rendered conversations and their masks against ids computed with the reference libraries, for
// every tokenizer folder that holds golden_chat*.jsonl files.
//
// A line is one conversation: "conversations", "system" (the system prompt; empty: none),
// "rendered_ids", and where the reference has them "template" (chatml when absent), "ming_labels"
// and "assistant_only_labels", whose unsupervised tokens are -100.
#include <algorithm>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "data/chat_template.h"
#include "data/json_elements.h"
#include "data/sample_parser.h"
#include "io/file.h"
#include "support/golden_paths.h"
#include "tokenizer/tokenizer.h"

namespace molora {
namespace {

using nlohmann::json;

constexpr TokenId kIgnored = -100;

// The golden files of the tokenizer folders below `root`, sorted.
std::vector<std::filesystem::path> chat_files(const std::filesystem::path& root) {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    if (!entry.is_directory()) continue;
    for (auto& file : testing::golden_files(entry.path(), "golden_chat", ".jsonl")) {
      files.push_back(std::move(file));
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

DataConfig::Template template_of(const json& line) {
  DataConfig::Template chat_template = DataConfig::chatml;
  if (line.contains("template")) {
    const auto name = line["template"].get<std::string>();
    EXPECT_TRUE(DataConfig::Template_Parse(name, &chat_template)) << name;
  }
  return chat_template;
}

// The labels as the reference writes them.
std::vector<TokenId> labels_of(const EncodedSample& sample) {
  std::vector<TokenId> labels = sample.ids;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (sample.supervised[i] == 0) labels[i] = kIgnored;
  }
  return labels;
}

class ChatTemplateGolden : public ::testing::TestWithParam<std::filesystem::path> {
 protected:
  struct Case {
    uint64_t line = 0;
    json golden;
    std::vector<Turn> turns;
  };

  ChatTemplateGolden() : tokenizer_(load_tokenizer(GetParam().parent_path())) {
    const MappedFile file(GetParam());
    JsonElements lines(file.text(), JsonElements::Layout::kLines, GetParam().string());
    while (const auto element = lines.next()) {
      cases_.push_back(
          {element->line, json::parse(element->text),
           parse_sample(element->text, DataSource::ming, SampleReaderOptions::LastTurn::kAssistant)
               .conversation.turns});
    }
  }

  EncodedSample encode(const Case& one, DataConfig::LabelMask mask) const {
    return ChatTemplate(*tokenizer_, template_of(one.golden),
                        one.golden.at("system").get<std::string>(), mask)
        .encode(one.turns);
  }

  // Compares one kind of labels; how many cases have it.
  size_t expect_labels(const char* key, DataConfig::LabelMask mask) const {
    size_t compared = 0;
    for (const Case& one : cases_) {
      if (!one.golden.contains(key)) continue;
      EXPECT_EQ(labels_of(encode(one, mask)), one.golden[key].get<std::vector<TokenId>>())
          << "line " << one.line;
      ++compared;
    }
    return compared;
  }

  std::unique_ptr<Tokenizer> tokenizer_;
  std::vector<Case> cases_;
};

TEST_P(ChatTemplateGolden, RenderedIdsAreThoseOfTheReference) {
  ASSERT_FALSE(cases_.empty());
  for (const Case& one : cases_) {
    EXPECT_EQ(encode(one, DataConfig::ming).ids,
              one.golden.at("rendered_ids").get<std::vector<TokenId>>())
        << "line " << one.line;
  }
}

TEST_P(ChatTemplateGolden, MingLabelsAreThoseOfTheReference) {
  if (expect_labels("ming_labels", DataConfig::ming) == 0) {
    GTEST_SKIP() << "the file holds no ming_labels";
  }
}

TEST_P(ChatTemplateGolden, AnswersLabelsAreThoseOfTheReference) {
  if (expect_labels("assistant_only_labels", DataConfig::answers) == 0) {
    GTEST_SKIP() << "the file holds no assistant_only_labels";
  }
}

TEST_P(ChatTemplateGolden, APromptIsTheBeginningOfTheRendering) {
  for (const Case& one : cases_) {
    const ChatTemplate chat(*tokenizer_, template_of(one.golden),
                            one.golden.at("system").get<std::string>(), DataConfig::answers);
    const auto prompt = chat.encode_prompt({one.turns.begin(), one.turns.end() - 1});
    const auto ids = one.golden.at("rendered_ids").get<std::vector<TokenId>>();
    ASSERT_LT(prompt.size(), ids.size());
    EXPECT_TRUE(std::equal(prompt.begin(), prompt.end(), ids.begin())) << "line " << one.line;
  }
}

std::string name_of(const ::testing::TestParamInfo<std::filesystem::path>& file) {
  return testing::test_name(file.param.parent_path().filename().string() + "_" +
                            file.param.stem().string());
}

INSTANTIATE_TEST_SUITE_P(Tokenizers, ChatTemplateGolden,
                         ::testing::ValuesIn(chat_files(testing::tokenizer_golden_root())),
                         name_of);
// Other data sets need not hold any of these.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(ChatTemplateGolden);
INSTANTIATE_TEST_SUITE_P(Models, ChatTemplateGolden,
                         ::testing::ValuesIn(chat_files(testing::golden_root())), name_of);

}  // namespace
}  // namespace molora
