#include "eval/item_record.h"

#include <algorithm>
#include <set>
#include <utility>

#include "eval/label_scores.h"
#include "eval/rouge_l.h"

namespace molora {

namespace {

constexpr std::pair<AnswerWay, std::string_view> kWays[] = {{AnswerWay::kLikelihood, "likelihood"},
                                                            {AnswerWay::kBiased, "biased"},
                                                            {AnswerWay::kGenerate, "generate"}};

}  // namespace

std::string_view answer_way_name(AnswerWay way) {
  for (const auto& [known, name] : kWays) {
    if (known == way) return name;
  }
  return "?";
}

std::optional<AnswerWay> answer_way_named(std::string_view name) {
  for (const auto& [way, known] : kWays) {
    if (known == name) return way;
  }
  return std::nullopt;
}

LabelCounts set_counts(const ItemAnswer& answer) {
  const std::set<std::string_view> given(answer.given.begin(), answer.given.end());
  const std::set<std::string_view> expected(answer.expected.begin(), answer.expected.end());
  const auto hits = std::count_if(given.begin(), given.end(),
                                  [&](std::string_view item) { return expected.contains(item); });
  return {static_cast<double>(hits), static_cast<double>(given.size()),
          static_cast<double>(expected.size())};
}

double rouge_sum(const ItemAnswer& answer) {
  double sum = 0.0;
  for (size_t i = 0; i < answer.expected.size(); ++i) {
    sum += rouge_l_f1(i < answer.given.size() ? answer.given[i] : "", answer.expected[i]);
  }
  return sum;
}

bool is_correct(const ItemAnswer& answer) {
  if (answer.metric == Metric::kRougeL) return answer.given == answer.expected;
  const LabelCounts counts = set_counts(answer);
  return counts.hits == counts.predicted && counts.hits == counts.actual;
}

double answer_score(const ItemAnswer& answer) {
  if (answer.metric == Metric::kRougeL) {
    const auto texts = static_cast<double>(answer.expected.size());
    return texts > 0.0 ? rouge_sum(answer) / texts : 0.0;
  }
  if (is_correct(answer)) return 1.0;
  return answer.metric == Metric::kMicroF1 ? scores_of(set_counts(answer)).f1 : 0.0;
}

}  // namespace molora
