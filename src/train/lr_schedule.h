// The learning rate of a step: a pure function.
#pragma once

#include <cstdint>

#include "run_config.pb.h"

namespace molora {

// The rate of step `step` (0 is the first) of `num_steps`. It rises linearly over the warm-up
// ((step + 1) / warm-up, so that no step is wasted at 0), then follows the schedule down to
// min_learning_rate_ratio of the peak at the last step.
double learning_rate(const TrainConfig& config, int64_t step, int64_t num_steps);

// The steps of warm-up of a run of num_steps.
int64_t warmup_steps(const TrainConfig& config, int64_t num_steps);

}  // namespace molora
