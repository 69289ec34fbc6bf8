#include "eval/task_score.h"

#include <map>
#include <string>

#include "base/check.h"

namespace molora {

TaskScorer::TaskScorer(Metric metric, const std::vector<const ItemRecord*>& items)
    : metric_(metric) {
  std::map<std::string, int32_t> labels;
  const auto label_of = [&labels](const std::vector<std::string>& list) {
    if (list.empty()) return kNoLabel;
    return labels.emplace(list.front(), static_cast<int32_t>(labels.size())).first->second;
  };
  for (const ItemRecord* item : items) {
    Entry entry;
    if (metric == Metric::kLoss) {
      entry.first = item->loss_sum;
      entry.second = static_cast<double>(item->supervised);
      entries_.push_back(entry);
      continue;
    }
    MOLORA_CHECK(item->answer && item->answer->metric == metric, "item {} of {}", item->index,
                 item->task);
    const ItemAnswer& answer = *item->answer;
    if (has_labels()) {
      entry.expected = label_of(answer.expected);
      entry.given = label_of(answer.given);
    } else if (metric == Metric::kMicroF1) {
      const LabelCounts counts = set_counts(answer);
      entry.first = counts.hits;
      entry.second = counts.predicted;
      entry.third = counts.actual;
    } else if (metric == Metric::kRougeL) {
      entry.first = rouge_sum(answer);
      entry.second = static_cast<double>(answer.expected.size());
    } else {
      entry.first = is_correct(answer) ? 1.0 : 0.0;
      entry.second = 1.0;
    }
    entries_.push_back(entry);
  }
  num_labels_ = static_cast<int32_t>(labels.size());
}

bool TaskScorer::has_labels() const {
  return metric_ == Metric::kMacroF1 || metric_ == Metric::kWeightedF1;
}

Scores TaskScorer::scores(std::span<const uint32_t> times) const {
  MOLORA_CHECK_EQ(times.size(), entries_.size());
  if (!has_labels()) {
    LabelCounts sum;
    for (size_t i = 0; i < entries_.size(); ++i) {
      const double count = times[i];
      sum.hits += count * entries_[i].first;
      sum.predicted += count * entries_[i].second;
      sum.actual += count * entries_[i].third;
    }
    return scores_of(sum);
  }
  std::vector<LabelCounts> counts(static_cast<size_t>(num_labels_));
  for (size_t i = 0; i < entries_.size(); ++i) {
    const double count = times[i];
    const Entry& entry = entries_[i];
    if (entry.expected != kNoLabel) counts[static_cast<size_t>(entry.expected)].actual += count;
    if (entry.given == kNoLabel) continue;
    counts[static_cast<size_t>(entry.given)].predicted += count;
    if (entry.given == entry.expected) counts[static_cast<size_t>(entry.given)].hits += count;
  }
  std::erase_if(counts, [](const LabelCounts& label) {
    return label.actual == 0.0 && label.predicted == 0.0;
  });
  return metric_ == Metric::kMacroF1 ? macro_scores(counts) : weighted_scores(counts);
}

double TaskScorer::score(std::span<const uint32_t> times) const {
  if (has_labels() || metric_ == Metric::kMicroF1) return scores(times).f1;
  MOLORA_CHECK_EQ(times.size(), entries_.size());
  double sum = 0.0;
  double whole = 0.0;
  for (size_t i = 0; i < entries_.size(); ++i) {
    sum += times[i] * entries_[i].first;
    whole += times[i] * entries_[i].second;
  }
  return whole > 0.0 ? sum / whole : 0.0;
}

double TaskScorer::score() const { return score(std::vector<uint32_t>(entries_.size(), 1)); }

}  // namespace molora
