#include "report/load_history.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/check.h"

namespace molora {

namespace {

using Counts = std::vector<std::vector<double>>;

bool has_same_shape(const Counts& a, const Counts& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const auto& x, const auto& y) { return x.size() == y.size(); });
}

void add_to(LoadSpan& sum, const LoadSpan& later) {
  sum.last_step = later.last_step;
  for (size_t router = 0; router < sum.counts.size(); ++router) {
    for (size_t expert = 0; expert < sum.counts[router].size(); ++expert) {
      sum.counts[router][expert] += later.counts[router][expert];
    }
  }
}

LoadSpan sum_from(const std::vector<LoadSpan>& spans, size_t first) {
  MOLORA_CHECK(first < spans.size());
  LoadSpan sum = spans[first];
  for (size_t i = first + 1; i < spans.size(); ++i) add_to(sum, spans[i]);
  return sum;
}

}  // namespace

void LoadHistory::clear() {
  spans_.clear();
  steps_per_span_ = 1;
  steps_in_last_ = 0;
}

void LoadHistory::add(int64_t step, const Counts& counts) {
  if (!spans_.empty() && !has_same_shape(spans_.back().counts, counts)) clear();
  const LoadSpan added{step, step, counts};
  if (!spans_.empty() && steps_in_last_ < steps_per_span_) {
    add_to(spans_.back(), added);
    ++steps_in_last_;
    return;
  }
  if (spans_.size() == kMostSpans) {
    std::vector<LoadSpan> pairs;
    for (size_t i = 0; i < kMostSpans; i += 2) {
      pairs.push_back(std::move(spans_[i]));
      add_to(pairs.back(), spans_[i + 1]);
    }
    spans_ = std::move(pairs);
    steps_per_span_ *= 2;
  }
  spans_.push_back(added);
  steps_in_last_ = 1;
}

LoadSpan LoadHistory::latest() const {
  MOLORA_CHECK(!spans_.empty());
  const size_t count = std::max<size_t>(1, spans_.size() / 10);
  return sum_from(spans_, spans_.size() - count);
}

LoadSpan LoadHistory::total() const { return sum_from(spans_, 0); }

std::vector<double> shares_of(const std::vector<double>& counts) {
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  std::vector<double> shares(counts.size(), 0.0);
  if (total <= 0) return shares;
  std::transform(counts.begin(), counts.end(), shares.begin(),
                 [&](double count) { return count / total; });
  return shares;
}

double evenness(const std::vector<double>& counts) {
  const double total = std::accumulate(counts.begin(), counts.end(), 0.0);
  if (total <= 0) return std::numeric_limits<double>::quiet_NaN();
  if (counts.size() < 2) return 1.0;
  double entropy = 0.0;
  for (const double share : shares_of(counts)) {
    if (share > 0) entropy -= share * std::log(share);
  }
  return entropy / std::log(static_cast<double>(counts.size()));
}

}  // namespace molora
