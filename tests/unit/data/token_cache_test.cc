#include "data/token_cache.h"

#include <algorithm>
#include <thread>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/fake_tokenizer.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::chatml_tokenizer;
using testing::FakeTokenizer;
using testing::read_text;
using testing::TempFolder;

std::string sample(const std::string& question, const std::string& answer,
                   const std::string& task) {
  return R"({"task": ")" + task + R"(", "instruction": ")" + question + R"(", "output": ")" +
         answer + "\"}\n";
}

DataSource source_of(const std::filesystem::path& path, const std::string& task = "") {
  DataSource source;
  source.set_path(path.string());
  source.set_task(task);
  return source;
}

// Three samples of two tasks, and all that a request needs.
class TokenCacheTest : public ::testing::Test {
 protected:
  TokenCacheTest() : chat_(tokenizer_, DataConfig::chatml, "", DataConfig::answers) {
    data_ = folder_.write("data.jsonl", sample("q1", "first", "b") + sample("q2", "second", "a") +
                                            sample("q3", "third answer", "b"));
  }

  TokenCacheRequest request(std::vector<DataSource> sources = {}) const {
    if (sources.empty()) sources = {source_of(data_)};
    return {.sources = std::move(sources),
            .chat_template = chat_,
            .max_length = 100,
            .folder = folder_ / "cache"};
  }

  size_t files_in_cache() const {
    using Iterator = std::filesystem::directory_iterator;
    return static_cast<size_t>(std::distance(Iterator(folder_ / "cache"), Iterator()));
  }

  TempFolder folder_;
  FakeTokenizer tokenizer_ = chatml_tokenizer();
  ChatTemplate chat_;
  std::filesystem::path data_;
};

TEST_F(TokenCacheTest, HoldsWhatTheTemplateEncodes) {
  const TokenCache cache = open_or_build(request());
  ASSERT_EQ(cache.num_samples(), 3u);
  const EncodedSample expected = chat_.encode({{Role::kUser, "q2"}, {Role::kAssistant, "second"}});
  EXPECT_TRUE(std::ranges::equal(cache.ids(1), expected.ids));
  EXPECT_TRUE(std::ranges::equal(cache.supervised(1), expected.supervised));
  EXPECT_EQ(cache.lengths()[1], expected.ids.size());
}

TEST_F(TokenCacheTest, TasksAreNumberedInTheOrderOfTheirFirstSample) {
  const auto other = folder_.write("other.json", "[" + sample("q", "a", "") + "]");
  const TokenCache cache = open_or_build(request({source_of(data_), source_of(other, "own")}));
  EXPECT_EQ(cache.tasks(), (std::vector<std::string>{"b", "a", "own"}));
  EXPECT_EQ(cache.task(0), 0u);
  EXPECT_EQ(cache.task(1), 1u);
  EXPECT_EQ(cache.task(2), 0u);
  EXPECT_EQ(cache.task(3), 2u);
}

TEST_F(TokenCacheTest, ScriptsAreThoseOfQuestionsAndAnswers) {
  const auto other =
      folder_.write("other.json", "[" + sample("\xE4\xBD\xA0\xE5\xA5\xBD", "\xE6\x98\xAF MRI", "") +
                                      "," + sample("1 + 1 = ?", "2", "") + "]");
  const TokenCache built = open_or_build(request({source_of(data_), source_of(other, "own")}));
  const TokenCache found = open_or_build(request({source_of(data_), source_of(other, "own")}));
  EXPECT_EQ(found.build_reason(), "");
  for (const TokenCache* cache : {&built, &found}) {
    EXPECT_EQ(cache->scripts(), (std::vector<std::string>{"latin", "han", "other"}));
    std::vector<uint32_t> numbers;
    for (uint32_t i = 0; i < cache->num_samples(); ++i) numbers.push_back(cache->script(i));
    EXPECT_EQ(numbers, (std::vector<uint32_t>{0, 0, 0, 1, 2}));
  }
}

// What an older program has left is no reason to stop, nor are the data others for it.
TEST_F(TokenCacheTest, AFileOfAnotherLayoutIsBuiltAnew) {
  const TokenCache built = open_or_build(request());
  std::fstream file(built.path(), std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(8);
  file.put(1);
  file.close();
  const TokenCache again = open_or_build(request());
  EXPECT_NE(again.build_reason().find("version 1, this program's is 2"), std::string::npos)
      << again.build_reason();
  EXPECT_EQ(again.fingerprint(), built.fingerprint());
}

TEST_F(TokenCacheTest, TheSecondOpeningFindsTheFileAndReportsTheSame) {
  TokenCacheRequest with_bad = request();
  with_bad.on_bad_sample = DataConfig::skip;
  std::ofstream(data_, std::ios::app) << "{}\n" << sample("q", std::string(200, 'x'), "b");
  const TokenCache built = open_or_build(with_bad);
  EXPECT_NE(built.build_reason().find("not there yet"), std::string::npos);
  const TokenCache found = open_or_build(with_bad);
  EXPECT_EQ(found.build_reason(), "");
  EXPECT_EQ(found.fingerprint(), built.fingerprint());
  EXPECT_EQ(found.tasks(), built.tasks());
  EXPECT_EQ(files_in_cache(), 1u);
  for (const TokenCache* cache : {&built, &found}) {
    const DataReport& report = cache->report();
    EXPECT_EQ(report.num_read, 4u);
    EXPECT_EQ(report.num_bad, 1u);
    EXPECT_EQ(report.num_truncated, 1u);
    EXPECT_EQ(report.num_without_answer, 0u);
    EXPECT_EQ(report.num_kept, 4u);
    ASSERT_EQ(report.first_bad.size(), 1u);
    EXPECT_EQ(report.first_bad[0].path, data_.string());
    EXPECT_EQ(report.first_bad[0].line, 4u);
    EXPECT_NE(report.first_bad[0].reason.find("expected one of the keys"), std::string::npos);
  }
}

TEST_F(TokenCacheTest, ThePathOfTheDataDoesNotMatter) {
  const TokenCache built = open_or_build(request());
  std::filesystem::rename(data_, folder_ / "renamed.jsonl");
  const TokenCache found = open_or_build(request({source_of(folder_ / "renamed.jsonl")}));
  EXPECT_EQ(found.build_reason(), "");
  EXPECT_EQ(found.path(), built.path());
}

TEST_F(TokenCacheTest, EverythingThatDecidesTheContentChangesTheFingerprint) {
  const auto fingerprint = [](const TokenCacheRequest& changed) {
    return open_or_build(changed).fingerprint();
  };
  std::vector<std::string> all = {fingerprint(request())};
  const auto copy = folder_.write("copy.jsonl", read_text(data_) + sample("q", "a", "a"));
  all.push_back(fingerprint(request({source_of(copy)})));
  all.push_back(fingerprint(request({source_of(data_), source_of(copy)})));
  all.push_back(fingerprint(request({source_of(copy), source_of(data_)})));
  all.push_back(fingerprint(request({source_of(data_, "task")})));
  DataSource alpaca = source_of(data_);
  alpaca.set_format(DataSource::alpaca);
  all.push_back(fingerprint(request({alpaca})));
  const auto changed = [&](void (*change)(TokenCacheRequest&)) {
    TokenCacheRequest other = request();
    change(other);
    return fingerprint(other);
  };
  all.push_back(changed([](TokenCacheRequest& other) { other.max_length = 99; }));
  all.push_back(changed([](TokenCacheRequest& other) { other.too_long = DataConfig::drop; }));
  all.push_back(changed([](TokenCacheRequest& other) { other.on_bad_sample = DataConfig::skip; }));
  const ChatTemplate ming(tokenizer_, DataConfig::chatml, "", DataConfig::ming);
  all.push_back(fingerprint({.sources = {source_of(data_)},
                             .chat_template = ming,
                             .max_length = 100,
                             .folder = folder_ / "cache"}));
  const FakeTokenizer other({"<|im_start|>", "<|im_end|>"});
  const ChatTemplate other_chat(other, DataConfig::chatml, "", DataConfig::answers);
  all.push_back(fingerprint({.sources = {source_of(data_)},
                             .chat_template = other_chat,
                             .max_length = 100,
                             .folder = folder_ / "cache"}));
  std::sort(all.begin(), all.end());
  EXPECT_EQ(std::unique(all.begin(), all.end()), all.end());
  EXPECT_EQ(all.size(), 11u);
  EXPECT_EQ(files_in_cache(), 11u);
}

TEST_F(TokenCacheTest, LongSamplesAreCutAtTheRight) {
  const auto whole = chat_.encode({{Role::kUser, "q3"}, {Role::kAssistant, "third answer"}});
  TokenCacheRequest cut = request();
  cut.max_length = static_cast<uint32_t>(whole.ids.size() - 5);
  const TokenCache cache = open_or_build(cut);
  EXPECT_EQ(cache.num_samples(), 3u);
  EXPECT_EQ(cache.report().num_truncated, 1u);
  EXPECT_TRUE(std::ranges::equal(cache.ids(2), std::span(whole.ids).first(cut.max_length)));
  EXPECT_EQ(cache.supervised(2).size(), cut.max_length);
}

TEST_F(TokenCacheTest, LongSamplesAreDroppedWhenAsked) {
  TokenCacheRequest drop = request();
  drop.max_length = static_cast<uint32_t>(
      chat_.encode({{Role::kUser, "q2"}, {Role::kAssistant, "second"}}).ids.size());
  drop.too_long = DataConfig::drop;
  const TokenCache cache = open_or_build(drop);
  EXPECT_EQ(cache.num_samples(), 2u);
  EXPECT_EQ(cache.report().num_dropped_too_long, 1u);
  EXPECT_EQ(cache.report().num_truncated, 0u);
}

TEST_F(TokenCacheTest, ASampleWhoseAnswerIsCutOffIsDroppedAndCounted) {
  std::ofstream(data_, std::ios::app) << sample(std::string(100, 'x'), "never seen", "b");
  const TokenCache cache = open_or_build(request());
  EXPECT_EQ(cache.num_samples(), 3u);
  EXPECT_EQ(cache.report().num_read, 4u);
  EXPECT_EQ(cache.report().num_dropped_unsupervised, 1u);
  EXPECT_EQ(cache.report().num_truncated, 0u);
}

TEST_F(TokenCacheTest, ASampleThatKeepsOnlyFormatTokensIsCounted) {
  const ChatTemplate ming(tokenizer_, DataConfig::chatml, "", DataConfig::ming);
  const auto prompt = ming.encode_prompt({{Role::kUser, "q1"}});
  const TokenCache cache = open_or_build({.sources = {source_of(data_)},
                                          .chat_template = ming,
                                          .max_length = static_cast<uint32_t>(prompt.size()),
                                          .folder = folder_ / "cache"});
  EXPECT_EQ(cache.report().num_kept, 3u);
  EXPECT_EQ(cache.report().num_truncated, 3u);
  EXPECT_EQ(cache.report().num_without_answer, 3u);
  EXPECT_NE(cache.report().summary().find("3 truncated (3 of them before the first answer)"),
            std::string::npos);
}

TEST_F(TokenCacheTest, ASupervisedFirstTokenDoesNotKeepASample) {
  // Under the mask `ming` the first token is supervised, and nothing predicts it.
  const ChatTemplate ming(tokenizer_, DataConfig::chatml, "", DataConfig::ming);
  EXPECT_THROW_WITH(open_or_build({.sources = {source_of(data_)},
                                   .chat_template = ming,
                                   .max_length = 2,
                                   .folder = folder_ / "cache"}),
                    DataError, "3 dropped without a supervised token, 0 kept");
}

TEST_F(TokenCacheTest, CountsOfTokensAreThoseOfTheKeptSamples) {
  const TokenCache cache = open_or_build(request());
  uint64_t tokens = 0, supervised = 0;
  for (uint32_t i = 0; i < cache.num_samples(); ++i) {
    tokens += cache.ids(i).size();
    supervised += static_cast<uint64_t>(
        std::count(cache.supervised(i).begin() + 1, cache.supervised(i).end(), 1));
  }
  EXPECT_EQ(cache.report().num_tokens, tokens);
  EXPECT_EQ(cache.report().num_supervised_tokens, supervised);
  EXPECT_EQ(supervised, 5u + 6u + 12u + 3u);
}

TEST_F(TokenCacheTest, ProgressEndsAtTheSizeOfTheSources) {
  std::vector<std::pair<uint64_t, uint64_t>> calls;
  TokenCacheRequest with_progress = request({source_of(data_), source_of(data_)});
  with_progress.progress = [&](uint64_t done, uint64_t total) { calls.emplace_back(done, total); };
  (void)open_or_build(with_progress);
  const uint64_t size = std::filesystem::file_size(data_);
  EXPECT_EQ(calls,
            (std::vector<std::pair<uint64_t, uint64_t>>{{size, 2 * size}, {2 * size, 2 * size}}));
}

TEST_F(TokenCacheTest, NoSampleLeftIsRefusedWithTheCounts) {
  TokenCacheRequest drop = request();
  drop.max_length = 5;
  drop.too_long = DataConfig::drop;
  EXPECT_THROW_WITH(open_or_build(drop), DataError, data_.string(),
                    "no sample remains for training: 3 read", "3 dropped as too long",
                    "0 kept (data.max_length is 5)");
  const auto bad = folder_.write("bad.jsonl", "{}\n");
  TokenCacheRequest skip = request({source_of(bad)});
  skip.on_bad_sample = DataConfig::skip;
  EXPECT_THROW_WITH(open_or_build(skip), DataError, "0 read, 1 bad",
                    "the first bad one: " + bad.string() + ":1: ");
  EXPECT_EQ(files_in_cache(), 0u);  // a failed build leaves nothing behind
}

TEST_F(TokenCacheTest, ABadSampleStopsTheBuildAndLeavesNothingBehind) {
  std::ofstream(data_, std::ios::app) << "{}\n";
  EXPECT_THROW_WITH(open_or_build(request()), DataError, data_.string() + ":4: sample: expected");
  EXPECT_EQ(files_in_cache(), 0u);
}

// A tokenizer whose regular expression gives up on every text.
class RefusingTokenizer final : public FakeTokenizer {
 public:
  RefusingTokenizer() : FakeTokenizer({"<|im_start|>", "<|im_end|>"}) {}
  std::vector<TokenId> encode(std::string_view, SpecialTokens) const override {
    throw DataError("the text needs too much backtracking");
  }
};

TEST_F(TokenCacheTest, WhatTheTokenizerRefusesIsNamedByFileAndLine) {
  const RefusingTokenizer refusing;
  const ChatTemplate chat(refusing, DataConfig::chatml, "", DataConfig::answers);
  EXPECT_THROW_WITH(open_or_build({.sources = {source_of(data_)},
                                   .chat_template = chat,
                                   .max_length = 100,
                                   .folder = folder_ / "cache"}),
                    DataError, data_.string() + ":1: the text needs too much backtracking");
}

TEST_F(TokenCacheTest, ASampleNumberOutOfRangeIsOurFault) {
  const TokenCache cache = open_or_build(request());
  EXPECT_THROW_WITH((void)cache.ids(3), InternalError, "sample 3 of 3");
  EXPECT_THROW_WITH((void)cache.supervised(3), InternalError, "sample 3 of 3");
  EXPECT_THROW_WITH((void)cache.task(3), InternalError, "sample 3 of 3");
}

TEST_F(TokenCacheTest, AMovedCacheKeepsItsData) {
  TokenCache cache = open_or_build(request());
  const std::vector<TokenId> before(cache.ids(2).begin(), cache.ids(2).end());
  const TokenCache moved = std::move(cache);
  EXPECT_TRUE(std::ranges::equal(moved.ids(2), before));
}

TEST_F(TokenCacheTest, SeveralMayBuildAtOnce) {
  std::vector<std::string> contents(4);
  {
    std::vector<std::jthread> builders;
    for (std::string& content : contents) {
      builders.emplace_back(
          [this, &content] { content = read_text(open_or_build(request()).path()); });
    }
  }
  for (const std::string& content : contents) EXPECT_EQ(content, contents[0]);
  EXPECT_FALSE(contents[0].empty());
  EXPECT_EQ(files_in_cache(), 1u);
}

TEST_F(TokenCacheTest, AnUnwritableFolderIsAnIoError) {
  TokenCacheRequest elsewhere = request();
  elsewhere.folder = data_ / "cache";  // below a file
  EXPECT_THROW_WITH(open_or_build(elsewhere), IoError, data_.string());
}

// Damage to the file: each is noticed, and the file is built again with the reason.
struct Damage {
  const char* what;
  void (*apply)(std::string& content);
  const char* reason;
};

class TokenCacheDamage : public TokenCacheTest, public ::testing::WithParamInterface<Damage> {};

TEST_P(TokenCacheDamage, IsNoticedAndRepaired) {
  const auto path = open_or_build(request()).path();
  const std::string good = read_text(path);
  std::string content = good;
  GetParam().apply(content);
  std::ofstream(path, std::ios::binary) << content;
  const TokenCache cache = open_or_build(request());
  EXPECT_NE(cache.build_reason().find(path.string() + ": "), std::string::npos);
  EXPECT_NE(cache.build_reason().find(GetParam().reason), std::string::npos)
      << cache.build_reason();
  EXPECT_EQ(read_text(path), good);
  EXPECT_EQ(cache.num_samples(), 3u);
}

INSTANTIATE_TEST_SUITE_P(
    All, TokenCacheDamage,
    ::testing::Values(
        Damage{"empty", [](std::string& content) { content.clear(); }, "0 bytes are too few"},
        Damage{"other_file", [](std::string& content) { content.replace(0, 4, "ABCD"); },
               "does not begin as tokenized data does"},
        Damage{"truncated", [](std::string& content) { content.resize(content.size() / 2); },
               "it is truncated"},
        Damage{"longer", [](std::string& content) { content += "x"; }, "it is truncated"},
        Damage{"token", [](std::string& content) { content[20] ^= 1; },
               "do not match their digest"},
        Damage{"index", [](std::string& content) { content[content.size() - 400] ^= 1; },
               "do not match their digest"},
        Damage{"digest", [](std::string& content) { content[content.size() - 20] ^= 1; },
               "do not match their digest"}),
    [](const auto& damage) { return damage.param.what; });

}  // namespace
}  // namespace molora
