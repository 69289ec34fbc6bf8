#include "eval/comparison.h"

#include <algorithm>
#include <functional>
#include <map>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "eval/paired_tests.h"
#include "eval/task_score.h"

namespace molora {

namespace {

using Records = std::vector<const ItemRecord*>;

// The records of each task, in the order of their first ones.
std::vector<std::pair<std::string, Records>> by_task(const std::vector<ItemRecord>& records) {
  std::vector<std::pair<std::string, Records>> tasks;
  for (const ItemRecord& record : records) {
    auto found = std::find_if(tasks.begin(), tasks.end(),
                              [&](const auto& task) { return task.first == record.task; });
    if (found == tasks.end()) found = tasks.insert(tasks.end(), {record.task, {}});
    found->second.push_back(&record);
  }
  return tasks;
}

Records answered(const Records& records) {
  Records list;
  for (const ItemRecord* record : records) {
    if (record->answer) list.push_back(record);
  }
  return list;
}

// The metric that all these answers have. REQUIRES: not empty, and all have an answer.
Metric common_metric(const Records& records) {
  const Metric metric = records.front()->answer->metric;
  for (const ItemRecord* record : records) {
    if (record->answer->metric == metric) continue;
    throw DataError(fmt::format(
        "task {}: item {} is scored by {}, item {} by {}; one task has one metric: give them "
        "different task names",
        record->task, records.front()->id, metric_name(metric), record->id,
        metric_name(record->answer->metric)));
  }
  return metric;
}

void add_to(std::vector<double>& sums, const std::vector<double>& values) {
  sums.resize(values.size());
  for (size_t i = 0; i < values.size(); ++i) sums[i] += values[i];
}

std::vector<double> divided(std::vector<double> values, size_t by) {
  for (double& value : values) value /= static_cast<double>(by);
  return values;
}

using Key = std::tuple<std::string, std::string, std::string, int>;

// By task, id, prompt, and which of several that are equal in these.
std::map<Key, const ItemRecord*> by_key(const std::vector<ItemRecord>& records) {
  std::map<Key, const ItemRecord*> keyed;
  for (const ItemRecord& record : records) {
    Key key(record.task, record.id, record.prompt, 0);
    while (!keyed.emplace(key, &record).second) ++std::get<3>(key);
  }
  return keyed;
}

std::string name_of(const ItemRecord& record) {
  return fmt::format("item {} of task {}",
                     record.id.empty() ? std::to_string(record.index) : "'" + record.id + "'",
                     record.task);
}

struct Pairs {
  std::vector<const ItemRecord*> first;
  std::vector<const ItemRecord*> second;
};

// In the order of `first`. Throws: DataError when one list has an item that the other lacks.
Pairs paired(const std::vector<ItemRecord>& first, const std::vector<ItemRecord>& second) {
  std::map<Key, const ItemRecord*> others = by_key(second);
  std::map<Key, const ItemRecord*> mine = by_key(first);
  std::vector<std::string> lonely;
  for (const auto& [one, other, side] :
       {std::tuple(&mine, &others, "first"), std::tuple(&others, &mine, "second")}) {
    for (const auto& [key, record] : *one) {
      if (!other->contains(key)) lonely.push_back(name_of(*record) + " in the " + side + " only");
    }
  }
  if (!lonely.empty()) {
    throw DataError(fmt::format(
        "the two evaluations are not of the same items: {} ({} in all). Evaluate both with the "
        "same data, --max-samples-per-task and data.max_length",
        lonely.front(), lonely.size()));
  }
  std::vector<std::pair<const ItemRecord*, const ItemRecord*>> pairs;
  pairs.reserve(mine.size());
  for (const auto& [key, record] : mine) pairs.emplace_back(record, others.at(key));
  std::sort(pairs.begin(), pairs.end(),
            [](const auto& a, const auto& b) { return a.first->index < b.first->index; });
  Pairs result;
  for (const auto& [a, b] : pairs) {
    result.first.push_back(a);
    result.second.push_back(b);
  }
  return result;
}

// What the rows of a sheet are made from, and how the overall is.
class DifferenceBuilder {
 public:
  explicit DifferenceBuilder(const ResamplingOptions& options) : options_(options) {}

  void add(const std::string& task, Metric metric, const Pairs& pairs) {
    const TaskScorer first(metric, pairs.first);
    const TaskScorer second(metric, pairs.second);
    ScoreDifference row{.task = task, .metric = metric, .items = pairs.first.size()};
    row.first = first.score();
    row.second = second.score();
    std::vector<double> drawn;
    for_each_resample(row.items, task, options_, [&](std::span<const uint32_t> times) {
      drawn.push_back(second.score(times) - first.score(times));
    });
    row.interval = percentile_interval(drawn, options_.confidence);

    Records both = pairs.first;
    both.insert(both.end(), pairs.second.begin(), pairs.second.end());
    const std::vector<double> permuted =
        permuted_differences(TaskScorer(metric, both), task, options_);
    row.p = permutation_p(permuted, row.difference());
    if (metric == Metric::kAccuracy) {
      row.test = PairedTest::kMcNemar;
      row.p = mcnemar_of(pairs);
    }
    add_to(drawn_, drawn);
    add_to(permuted_, permuted);
    sheet_.tasks.push_back(row);
  }

  DifferenceSheet finish() {
    std::vector<double> p_values;
    for (const ScoreDifference& row : sheet_.tasks) p_values.push_back(row.p);
    const std::vector<double> adjusted = holm_adjusted(p_values);
    for (size_t i = 0; i < adjusted.size(); ++i) sheet_.tasks[i].adjusted_p = adjusted[i];
    if (sheet_.tasks.size() > 1) add_overall();
    return std::move(sheet_);
  }

 private:
  static double mcnemar_of(const Pairs& pairs) {
    int64_t only_first = 0;
    int64_t only_second = 0;
    for (size_t i = 0; i < pairs.first.size(); ++i) {
      const bool is_first = is_correct(*pairs.first[i]->answer);
      const bool is_second = is_correct(*pairs.second[i]->answer);
      only_first += is_first && !is_second ? 1 : 0;
      only_second += is_second && !is_first ? 1 : 0;
    }
    return mcnemar_p(only_first, only_second);
  }

  void add_overall() {
    const size_t number = sheet_.tasks.size();
    ScoreDifference overall{.task = "overall", .metric = sheet_.tasks.front().metric};
    for (const ScoreDifference& row : sheet_.tasks) {
      overall.items += row.items;
      overall.first += row.first / static_cast<double>(number);
      overall.second += row.second / static_cast<double>(number);
    }
    overall.interval = percentile_interval(divided(drawn_, number), options_.confidence);
    overall.p = permutation_p(divided(permuted_, number), overall.difference());
    overall.adjusted_p = overall.p;
    sheet_.overall = overall;
  }

  ResamplingOptions options_;
  DifferenceSheet sheet_;
  std::vector<double> drawn_;     // by resample: sum over the tasks of second - first
  std::vector<double> permuted_;  // by round
};

void check_references(const Pairs& pairs) {
  for (size_t i = 0; i < pairs.first.size(); ++i) {
    const ItemRecord& a = *pairs.first[i];
    const ItemRecord& b = *pairs.second[i];
    if (a.answer.has_value() != b.answer.has_value()) {
      throw DataError(fmt::format(
          "{} was answered in the {} evaluation only: evaluate both with the same --answers",
          name_of(a), a.answer ? "first" : "second"));
    }
    if (!a.answer) continue;
    if (a.answer->metric != b.answer->metric) {
      throw DataError(
          fmt::format("{} is scored by {} in the first evaluation and by {} in the "
                      "second",
                      name_of(a), metric_name(a.answer->metric), metric_name(b.answer->metric)));
    }
    if (a.answer->expected != b.answer->expected) {
      throw DataError(
          fmt::format("{} has other reference answers in the two evaluations: the data "
                      "have changed in between",
                      name_of(a)));
    }
  }
}

// Pairs of each task, those for which `is_wanted` on both sides.
std::vector<std::pair<std::string, Pairs>> pairs_by_task(
    const Pairs& pairs, const std::function<bool(const ItemRecord&)>& is_wanted) {
  std::vector<std::pair<std::string, Pairs>> tasks;
  for (size_t i = 0; i < pairs.first.size(); ++i) {
    const ItemRecord& a = *pairs.first[i];
    if (!is_wanted(a) || !is_wanted(*pairs.second[i])) continue;
    auto found = std::find_if(tasks.begin(), tasks.end(),
                              [&](const auto& task) { return task.first == a.task; });
    if (found == tasks.end()) found = tasks.insert(tasks.end(), {a.task, {}});
    found->second.first.push_back(&a);
    found->second.second.push_back(pairs.second[i]);
  }
  return tasks;
}

bool have_same_tokens(const Pairs& pairs) {
  return std::equal(
      pairs.first.begin(), pairs.first.end(), pairs.second.begin(),
      [](const ItemRecord* a, const ItemRecord* b) { return a->supervised == b->supervised; });
}

}  // namespace

ScoreSheet score_sheet(const std::vector<ItemRecord>& records, const ResamplingOptions& options) {
  ScoreSheet sheet;
  std::vector<double> sums;
  ScoredTask overall{.task = "overall"};
  for (const auto& [task, all] : by_task(records)) {
    const Records items = answered(all);
    if (items.empty()) continue;
    ScoredTask row{.task = task,
                   .metric = common_metric(items),
                   .way = items.front()->answer->way,
                   .items = items.size()};
    row.unread =
        static_cast<size_t>(std::count_if(items.begin(), items.end(), [](const ItemRecord* item) {
          return !item->answer->is_parsed;
        }));
    const TaskScorer scorer(row.metric, items);
    row.score = scorer.score();
    const std::vector<double> drawn = resampled_scores(scorer, task, options);
    row.interval = percentile_interval(drawn, options.confidence);
    add_to(sums, drawn);
    overall.items += row.items;
    overall.unread += row.unread;
    overall.score += row.score;
    sheet.tasks.push_back(row);
  }
  const size_t number = sheet.tasks.size();
  if (number > 1) {
    overall.score /= static_cast<double>(number);
    overall.interval = percentile_interval(divided(sums, number), options.confidence);
    sheet.overall = overall;
  }
  return sheet;
}

Comparison compare(const std::vector<ItemRecord>& first, const std::vector<ItemRecord>& second,
                   const ResamplingOptions& options) {
  const Pairs pairs = paired(first, second);
  check_references(pairs);
  Comparison comparison;
  DifferenceBuilder answers(options);
  for (const auto& [task, of_task] :
       pairs_by_task(pairs, [](const ItemRecord& record) { return record.answer.has_value(); })) {
    answers.add(task, common_metric(of_task.first), of_task);
  }
  comparison.answers = answers.finish();
  if (!have_same_tokens(pairs)) return comparison;
  DifferenceBuilder losses(options);
  for (const auto& [task, of_task] :
       pairs_by_task(pairs, [](const ItemRecord& record) { return record.supervised > 0; })) {
    losses.add(task, Metric::kLoss, of_task);
  }
  comparison.losses = losses.finish();
  return comparison;
}

}  // namespace molora
