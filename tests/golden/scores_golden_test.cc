// The scorers against the packages that the field uses: golden_scores.jsonl of scores_golden.py, or
// the file in MOLORA_SCORES_GOLDEN.
#include <cstdlib>
#include <functional>
#include <map>
#include <sstream>

#include <gtest/gtest.h>

#include "eval/bootstrap.h"
#include "eval/label_scores.h"
#include "eval/paired_tests.h"
#include "eval/rouge_l.h"
#include "eval/task_score.h"
#include "support/golden_paths.h"

namespace molora {
namespace {

using nlohmann::json;

constexpr double kTolerance = 1e-12;
constexpr char kStored[] = "tests/assets/scores/golden_scores.jsonl";

std::vector<json> cases(const std::string& kind) {
  static const std::vector<json> lines = [] {
    const char* set = std::getenv("MOLORA_SCORES_GOLDEN");
    std::istringstream text(read_file(set != nullptr && *set != '\0' ? set : kStored));
    std::vector<json> all;
    for (std::string line; std::getline(text, line);) all.push_back(json::parse(line));
    return all;
  }();
  std::vector<json> found;
  for (const json& line : lines) {
    if (line.value("kind", "") == kind) found.push_back(line);
  }
  EXPECT_GE(found.size(), 300u);
  return found;
}

void expect_scores(const Scores& got, const json& expected, const json& whole) {
  EXPECT_NEAR(got.precision, expected[0].get<double>(), kTolerance) << whole;
  EXPECT_NEAR(got.recall, expected[1].get<double>(), kTolerance) << whole;
  EXPECT_NEAR(got.f1, expected[2].get<double>(), kTolerance) << whole;
}

std::vector<ItemRecord> label_records(const json& c, Metric metric) {
  std::vector<ItemRecord> records;
  for (size_t i = 0; i < c["truth"].size(); ++i) {
    ItemAnswer answer{.metric = metric, .expected = {c["truth"][i].get<std::string>()}};
    if (!c["given"][i].is_null()) answer.given = {c["given"][i].get<std::string>()};
    records.push_back({.answer = answer});
  }
  return records;
}

std::vector<const ItemRecord*> pointers(const std::vector<ItemRecord>& records) {
  std::vector<const ItemRecord*> list;
  for (const ItemRecord& record : records) list.push_back(&record);
  return list;
}

TEST(ScoresGolden, MacroAndWeightedScoresAreScikitLearns) {
  for (const json& c : cases("labels")) {
    for (const auto& [metric, name] :
         {std::pair{Metric::kMacroF1, "macro"}, std::pair{Metric::kWeightedF1, "weighted"}}) {
      const auto records = label_records(c, metric);
      const TaskScorer scorer(metric, pointers(records));
      expect_scores(scorer.scores(std::vector<uint32_t>(records.size(), 1)), c["once"][name], c);
      expect_scores(scorer.scores(c["times"].get<std::vector<uint32_t>>()), c["weighted"][name], c);
      EXPECT_EQ(scorer.score(), scorer.scores(std::vector<uint32_t>(records.size(), 1)).f1);
    }
  }
}

TEST(ScoresGolden, LabelsThatNeverOccurCountAsScikitLearnCountsThem) {
  for (const json& c : cases("labels")) {
    std::map<std::string, LabelCounts> counts;
    for (size_t i = 0; i < c["truth"].size(); ++i) {
      const auto truth = c["truth"][i].get<std::string>();
      counts[truth].actual += 1;
      if (c["given"][i].is_null()) continue;
      const auto given = c["given"][i].get<std::string>();
      counts[given].predicted += 1;
      if (given == truth) counts[given].hits += 1;
    }
    std::vector<LabelCounts> all;
    for (const json& label : c["labels"]) all.push_back(counts[label.get<std::string>()]);
    expect_scores(macro_scores(all), c["over_all"]["macro"], c);
    expect_scores(weighted_scores(all), c["over_all"]["weighted"], c);
  }
}

TEST(ScoresGolden, AccuracyIsScikitLearns) {
  for (const json& c : cases("labels")) {
    const auto records = label_records(c, Metric::kAccuracy);
    const TaskScorer scorer(Metric::kAccuracy, pointers(records));
    EXPECT_NEAR(scorer.score(), c["accuracy"].get<double>(), kTolerance) << c;
  }
}

TEST(ScoresGolden, MicroScoresOverSetsAreScikitLearns) {
  for (const json& c : cases("sets")) {
    std::vector<ItemRecord> records;
    for (size_t i = 0; i < c["truth"].size(); ++i) {
      records.push_back(
          {.answer = ItemAnswer{
               .metric = Metric::kMicroF1, .expected = c["truth"][i], .given = c["given"][i]}});
    }
    const TaskScorer scorer(Metric::kMicroF1, pointers(records));
    expect_scores(scorer.scores(std::vector<uint32_t>(records.size(), 1)), c["micro"], c);
  }
}

std::string joined(const std::vector<std::string>& tokens) {
  std::string text;
  for (const std::string& token : tokens) text += (text.empty() ? "" : " ") + token;
  return text;
}

TEST(ScoresGolden, TokensAreThoseOfBertsTokenizer) {
  for (const json& c : cases("rouge")) {
    for (const std::string side : {"answer", "reference"}) {
      EXPECT_EQ(joined(rouge_tokens(c[side].get<std::string>())),
                c[side + "_tokens"].get<std::string>())
          << c;
    }
  }
}

TEST(ScoresGolden, RougeLIsThatOfRougeChineseAndNearlyThatOfRougeScore) {
  for (const json& c : cases("rouge")) {
    const double f1 = rouge_l_f1(c["answer"].get<std::string>(), c["reference"].get<std::string>());
    EXPECT_NEAR(f1, c["rouge_chinese"].get<double>(), kTolerance) << c;
    EXPECT_NEAR(f1, c["rouge_score"].get<double>(), 1e-8) << c;
  }
}

TEST(ScoresGolden, McNemarsPIsSciPysBinomialTest) {
  for (const json& c : cases("mcnemar")) {
    const auto expected = c["p"].get<double>();
    EXPECT_NEAR(mcnemar_p(c["pair"][0].get<int64_t>(), c["pair"][1].get<int64_t>()), expected,
                1e-9 * expected + 1e-300)
        << c;
  }
}

TEST(ScoresGolden, PercentileIntervalsAreNumpys) {
  for (const json& c : cases("percentile")) {
    const ScoreInterval got = percentile_interval(c["values"], 0.95);
    EXPECT_NEAR(got.low, c["interval"][0].get<double>(), kTolerance) << c;
    EXPECT_NEAR(got.high, c["interval"][1].get<double>(), kTolerance) << c;
  }
}

}  // namespace
}  // namespace molora
