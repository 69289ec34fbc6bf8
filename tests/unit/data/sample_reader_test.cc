#include "data/sample_reader.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

constexpr const char* kGood = R"({"instruction": "q", "output": "a"})";
constexpr const char* kBad = R"({"instruction": "q", "output": ""})";

DataSource source_of(const std::filesystem::path& path, const std::string& task = "") {
  DataSource source;
  source.set_path(path.string());
  source.set_task(task);
  return source;
}

std::vector<Conversation> read_all(SampleReader& reader) {
  std::vector<Conversation> all;
  while (auto conversation = reader.next()) all.push_back(*std::move(conversation));
  return all;
}

TEST(SampleReader, ConversationsCarryTheirOriginAndTask) {
  const TempFolder folder;
  const auto path = folder.write(
      "a.jsonl", std::string(kGood) + "\n\n" +
                     R"({"task": "own", "conversations": [{"from": "human", "value": "q"},)"
                     R"({"from": "gpt", "value": "a"}]})");
  SampleReader reader(source_of(path, "default"));
  const auto all = read_all(reader);
  ASSERT_EQ(all.size(), 2u);
  EXPECT_EQ(all[0].origin, path.string() + ":1");
  EXPECT_EQ(all[0].task, "default");
  EXPECT_EQ(all[1].origin, path.string() + ":3");
  EXPECT_EQ(all[1].task, "own");
  EXPECT_EQ(reader.report().num_read, 2u);
  EXPECT_EQ(reader.bytes_read(), reader.bytes_total());
  EXPECT_FALSE(reader.next());
}

TEST(SampleReader, AnArrayIsReadElementByElement) {
  const TempFolder folder;
  const auto path =
      folder.write("a.json", "[\n" + std::string(kGood) + ",\n" + std::string(kGood) + "]");
  SampleReader reader(source_of(path));
  ASSERT_TRUE(reader.next());
  EXPECT_LT(reader.bytes_read(), reader.bytes_total());
  EXPECT_EQ(reader.next()->origin, path.string() + ":3");
  EXPECT_FALSE(reader.next());
}

TEST(SampleReader, LeadingAnswersAreCounted) {
  const TempFolder folder;
  const auto path = folder.write(
      "a.jsonl", R"({"conversations": [{"from": "gpt", "value": "Hi"},)"
                 R"({"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]})");
  SampleReader reader(source_of(path));
  EXPECT_EQ(read_all(reader).size(), 1u);
  EXPECT_EQ(reader.report().num_leading_answers, 1u);
}

TEST(SampleReader, ABadSampleStopsWithFileAndLine) {
  const TempFolder folder;
  const auto path = folder.write("a.jsonl", std::string(kGood) + "\n" + kBad + "\n");
  SampleReader reader(source_of(path));
  ASSERT_TRUE(reader.next());
  EXPECT_THROW_WITH((void)reader.next(), DataError,
                    path.string() + ":2: turn 2: expected an answer, got an empty text");
}

TEST(SampleReader, SkippedSamplesAreCountedAndTheFirstOnesKept) {
  const TempFolder folder;
  std::string content = "not JSON\n" + std::string(kGood) + "\n";
  for (int i = 0; i < 9; ++i) content += std::string(kBad) + "\n";
  const auto path = folder.write("a.jsonl", content);
  SampleReader reader(source_of(path), {.on_bad_sample = DataConfig::skip});
  EXPECT_EQ(read_all(reader).size(), 1u);
  const ReadReport& report = reader.report();
  EXPECT_EQ(report.num_read, 1u);
  EXPECT_EQ(report.num_bad, 10u);
  ASSERT_EQ(report.first_bad.size(), ReadReport::kKeptBadSamples);
  EXPECT_EQ(report.first_bad[0].line, 1u);
  EXPECT_EQ(report.first_bad[1].message(),
            path.string() + ":3: turn 2: expected an answer, got an empty text");
}

TEST(SampleReader, ABrokenArrayStopsEvenWhenBadSamplesAreSkipped) {
  const TempFolder folder;
  const auto path = folder.write("a.json", "[" + std::string(kGood) + ",\n{");
  SampleReader reader(source_of(path), {.on_bad_sample = DataConfig::skip});
  ASSERT_TRUE(reader.next());
  EXPECT_THROW_WITH((void)reader.next(), DataError, path.string() + ":2: ", "does not end");
}

TEST(SampleReader, PromptsMayEndWithTheUser) {
  const TempFolder folder;
  const auto path = folder.write("a.jsonl", R"({"instruction": "q"})");
  SampleReader reader(source_of(path), {.last_turn = SampleReaderOptions::LastTurn::kAny});
  EXPECT_EQ(read_all(reader).size(), 1u);
}

TEST(SampleReader, OtherEndingsOfTheNameAreRefused) {
  const TempFolder folder;
  const auto text = folder.write("a.txt", "");
  EXPECT_THROW_WITH(SampleReader{source_of(text)}, DataError, text.string(),
                    "expected a name that ends in .jsonl (one sample a line) or .json (one array), "
                    "got .txt");
  const auto bare = folder.write("a", "");
  EXPECT_THROW_WITH(SampleReader{source_of(bare)}, DataError, bare.string(), "got none");
}

TEST(SampleReader, AMissingFileIsAnIoError) {
  EXPECT_THROW_WITH(SampleReader{source_of("/no/such.jsonl")}, IoError, "/no/such.jsonl",
                    "cannot open");
}

TEST(SampleReader, ReadsThePublishedForms) {
  SampleReader lines(source_of("tests/assets/data/multitask/dev.jsonl"));
  EXPECT_EQ(read_all(lines).size(), 350u);
  SampleReader array(source_of("tests/assets/data/multitask/sample_ming_format_64.json"));
  EXPECT_EQ(read_all(array).size(), 64u);
}

}  // namespace
}  // namespace molora
