#include "train/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace molora {

int64_t warmup_steps(const TrainConfig& config, int64_t num_steps) {
  if (config.warmup_steps() > 0) return static_cast<int64_t>(config.warmup_steps());
  return static_cast<int64_t>(std::ceil(config.warmup_ratio() * static_cast<double>(num_steps)));
}

double learning_rate(const TrainConfig& config, int64_t step, int64_t num_steps) {
  const double peak = config.learning_rate();
  const int64_t warmup = warmup_steps(config, num_steps);
  if (step < warmup) return peak * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (config.schedule() == TrainConfig::constant) return peak;
  const int64_t remaining = std::max<int64_t>(1, num_steps - 1 - warmup);
  const double progress =
      std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(remaining));
  const double fall = config.schedule() == TrainConfig::cosine
                          ? 0.5 * (1.0 + std::cos(std::numbers::pi * progress))
                          : 1.0 - progress;
  const double floor = config.min_learning_rate_ratio();
  return peak * (floor + (1.0 - floor) * fall);
}

}  // namespace molora
