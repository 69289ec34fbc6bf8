#include "eval/bootstrap.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/philox.h"

namespace molora {

namespace {

double quantile_of_sorted(const std::vector<double>& sorted, double share) {
  const double at = share * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return std::lerp(sorted[below], sorted[above], at - static_cast<double>(below));
}

}  // namespace

void for_each_resample(size_t num_items, std::string_view task, const ResamplingOptions& options,
                       const std::function<void(std::span<const uint32_t>)>& use) {
  MOLORA_CHECK(num_items > 0, "nothing to draw from");
  const uint64_t key = philox_key(options.seed, RandomPurpose::kBootstrap, task, 0);
  std::vector<uint32_t> times(num_items);
  for (int resample = 0; resample < options.resamples; ++resample) {
    std::fill(times.begin(), times.end(), 0);
    const uint64_t first = static_cast<uint64_t>(resample) * num_items;
    for (size_t i = 0; i < num_items; ++i) ++times[philox_below(key, first + i, num_items)];
    use(times);
  }
}

std::vector<double> resampled_scores(const TaskScorer& scorer, std::string_view task,
                                     const ResamplingOptions& options) {
  std::vector<double> scores;
  for_each_resample(scorer.num_items(), task, options, [&](std::span<const uint32_t> times) {
    scores.push_back(scorer.score(times));
  });
  return scores;
}

ScoreInterval percentile_interval(std::vector<double> values, double confidence) {
  MOLORA_CHECK(!values.empty(), "no values");
  std::sort(values.begin(), values.end());
  const double outside = (1.0 - confidence) / 2.0;
  return {quantile_of_sorted(values, outside), quantile_of_sorted(values, 1.0 - outside)};
}

}  // namespace molora
