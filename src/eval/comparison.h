// Two models on the same items: by how much they differ, and whether that is more than chance.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/bootstrap.h"
#include "eval/item_record.h"

namespace molora {

// One score of one task, with what its bootstrap says.
struct ScoredTask {
  std::string task;
  Metric metric = Metric::kAccuracy;
  AnswerWay way = AnswerWay::kLikelihood;  // of the loss: without meaning
  size_t items = 0;
  size_t unread = 0;  // answers without the form that was asked for
  double score = 0.0;
  ScoreInterval interval;
};

// The scores of all tasks, in the order of their first items.
struct ScoreSheet {
  std::vector<ScoredTask> tasks;
  // The unweighted mean of the tasks' scores, as PromptCBLUE ranks models; for two tasks or more.
  std::optional<ScoredTask> overall;
};
// Of the answers; tasks without any are left out. Throws: DataError when a task mixes metrics.
ScoreSheet score_sheet(const std::vector<ItemRecord>& records, const ResamplingOptions& options);

enum class PairedTest { kMcNemar, kPermutation };

struct ScoreDifference {
  std::string task;
  Metric metric = Metric::kAccuracy;
  size_t items = 0;
  double first = 0.0;
  double second = 0.0;
  ScoreInterval interval;  // of second - first, from resamples of pairs
  PairedTest test = PairedTest::kPermutation;
  double p = 1.0;
  double adjusted_p = 1.0;  // Holm's, over the tasks of its sheet; of the overall: p itself

  double difference() const { return second - first; }
  bool is_significant(double level) const { return adjusted_p < level; }
  // Whether the second one is the better one.
  bool is_better() const { return metric == Metric::kLoss ? second < first : second > first; }
};

struct DifferenceSheet {
  std::vector<ScoreDifference> tasks;
  std::optional<ScoreDifference> overall;  // of the unweighted means; for two tasks or more
};

struct Comparison {
  DifferenceSheet answers;
  // Mean loss per answer token. Empty when the models have different tokenizers: then it cannot be
  // compared.
  DifferenceSheet losses;
};

// Pairs the records by task, id and prompt. Accuracies are tested by McNemar's exact test, all else
// by permutation; the intervals are paired bootstraps.
// Throws: DataError that says how the two lists do not go together: items of one of them only,
// other reference answers, other metrics.
Comparison compare(const std::vector<ItemRecord>& first, const std::vector<ItemRecord>& second,
                   const ResamplingOptions& options);

}  // namespace molora
