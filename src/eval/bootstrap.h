// How sure a score is: percentile intervals from bootstrap resamples of the items.
//
// B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7, 1979. A
// resample draws as many items as there are, with replacement; which ones is a function of the
// seed, the name of the task, the resample and the place alone (base/philox.h), so that the same
// items give the same interval wherever and however often it is computed.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "eval/task_score.h"

namespace molora {

struct ResamplingOptions {
  int resamples = 10000;
  double confidence = 0.95;
  uint64_t seed = 0;
};

struct ScoreInterval {
  double low = 0.0;
  double high = 0.0;
};

// Calls `use` for each resample with how often every item was drawn. The span is valid during the
// call. REQUIRES: num_items > 0.
void for_each_resample(size_t num_items, std::string_view task, const ResamplingOptions& options,
                       const std::function<void(std::span<const uint32_t>)>& use);

// The score of each resample; for several tasks together, add up entries of the same place.
std::vector<double> resampled_scores(const TaskScorer& scorer, std::string_view task,
                                     const ResamplingOptions& options);

// The quantiles (1 - confidence) / 2 and (1 + confidence) / 2, interpolated linearly between order
// statistics (numpy's default). REQUIRES: values is not empty.
ScoreInterval percentile_interval(std::vector<double> values, double confidence);

}  // namespace molora
