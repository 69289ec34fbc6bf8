#include "coord/checkpoint_policy.h"

#include <algorithm>

namespace molora {

std::string checkpoint_reason(const CheckpointConfig& config, const StepEvents& events,
                              double minutes_since_save) {
  if (events.is_stop_requested) return "stop requested";
  if (events.is_last) return "end of the run";
  // Before the interval: a best one waits for the save before it, an interval is passed over.
  if (events.is_new_best && config.keep_best()) return "best held-out loss so far";
  const auto every = static_cast<int64_t>(config.every());
  if (every > 0 && events.step % every == 0) return "interval";
  if (config.every_minutes() > 0.0 && minutes_since_save >= config.every_minutes()) {
    return "interval of time";
  }
  return {};
}

std::vector<int64_t> steps_to_remove(const CheckpointConfig& config,
                                     const std::vector<int64_t>& committed, int64_t newest,
                                     const SpecialSteps& special) {
  const auto end = std::upper_bound(committed.begin(), committed.end(), newest);
  const auto count = static_cast<size_t>(end - committed.begin());
  const size_t kept_from = count - std::min<size_t>(count, config.keep_last());
  const auto keep_every = static_cast<int64_t>(config.keep_every());
  std::vector<int64_t> removed;
  for (size_t i = 0; i < kept_from; ++i) {
    const int64_t step = committed[i];
    const bool is_best = config.keep_best() && special.best == step;
    const bool is_milestone = keep_every > 0 && step % keep_every == 0;
    if (!is_best && !is_milestone && special.resumed != step) removed.push_back(step);
  }
  return removed;
}

std::optional<int64_t> newest_valid_step(
    const std::vector<int64_t>& committed, const std::function<std::string(int64_t)>& damage,
    const std::function<void(int64_t, const std::string&)>& on_damaged) {
  for (auto step = committed.rbegin(); step != committed.rend(); ++step) {
    const std::string what = damage(*step);
    if (what.empty()) return *step;
    on_damaged(*step, what);
  }
  return std::nullopt;
}

}  // namespace molora
