// The score of a task from its items, each of which counts any number of times: once for the score
// itself, as often as it was drawn for a bootstrap resample.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "eval/item_record.h"
#include "eval/label_scores.h"

namespace molora {

class TaskScorer {
 public:
  // REQUIRES: for all metrics but the loss, every record has an answer of this metric. Nothing of
  // the records is referred to afterwards.
  TaskScorer(Metric metric, const std::vector<const ItemRecord*>& items);

  Metric metric() const { return metric_; }
  size_t num_items() const { return entries_.size(); }

  // The headline number of the metric; 0 when no item counts. REQUIRES: times.size() == num_items()
  double score(std::span<const uint32_t> times) const;
  double score() const;

  // Precision, recall and F1 of the three F1 metrics.
  // Labels: those that occur, in the references or in the answers that could be read; an answer
  // that could not be read is a miss of its reference and a prediction of nothing.
  Scores scores(std::span<const uint32_t> times) const;

 private:
  static constexpr int32_t kNoLabel = -1;
  // Of one item. Shares: first / second is added up. Sets: hits, predicted, actual. Labels: which
  // was expected, which was given.
  struct Entry {
    double first = 0.0;
    double second = 0.0;
    double third = 0.0;
    int32_t expected = kNoLabel;
    int32_t given = kNoLabel;
  };
  bool has_labels() const;

  Metric metric_;
  std::vector<Entry> entries_;
  int32_t num_labels_ = 0;
};

}  // namespace molora
