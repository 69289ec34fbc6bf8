#include "coord/checkpoint_policy.h"

#include <algorithm>

namespace molora {

std::string checkpoint_reason(const CheckpointConfig& config, const StepEvents& events) {
  if (events.is_stop_requested) return "stop requested";
  if (events.is_last) return "end of the run";
  const auto every = static_cast<int64_t>(config.every());
  if (every > 0 && events.step % every == 0) return "interval";
  if (events.is_new_best && config.keep_best()) return "best held-out loss so far";
  return {};
}

std::vector<int64_t> steps_to_remove(const CheckpointConfig& config,
                                     const std::vector<int64_t>& committed,
                                     std::optional<int64_t> best, std::optional<int64_t> resumed) {
  std::vector<int64_t> removed;
  const size_t kept_from =
      committed.size() - std::min<size_t>(committed.size(), config.keep_last());
  for (size_t i = 0; i < kept_from; ++i) {
    const bool is_best = config.keep_best() && best == committed[i];
    if (!is_best && resumed != committed[i]) removed.push_back(committed[i]);
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
