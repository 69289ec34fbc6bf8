// When to save, what to keep and where to resume: decisions without side effects.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "run_config.pb.h"

namespace molora {

// What happened around the end of a step; equal on every rank.
struct StepEvents {
  int64_t step = 0;      // steps done
  bool is_last = false;  // the run ends here
  bool is_stop_requested = false;
  bool is_new_best = false;  // lowest held-out loss so far
};

// Why a checkpoint is due after a step; "" when none is. `minutes_since_save`: since the last one
// was begun, or the run was.
std::string checkpoint_reason(const CheckpointConfig& config, const StepEvents& events,
                              double minutes_since_save);

// What the retention must not touch whatever the rules say.
struct SpecialSteps {
  std::optional<int64_t> best;
  std::optional<int64_t> resumed;  // that the run was resumed from
};

// The steps to remove after `newest` was committed, so that the newest keep_last, the multiples of
// keep_every, the best one and the one that the run was resumed from stay. Steps after `newest` are
// not this run's: they neither count nor go. `committed` ascending.
std::vector<int64_t> steps_to_remove(const CheckpointConfig& config,
                                     const std::vector<int64_t>& committed, int64_t newest,
                                     const SpecialSteps& special);

// The newest committed step without damage; `damage` gives "" or what is wrong with a step. What
// was passed over is told through `on_damaged`.
std::optional<int64_t> newest_valid_step(
    const std::vector<int64_t>& committed, const std::function<std::string(int64_t)>& damage,
    const std::function<void(int64_t, const std::string&)>& on_damaged);

}  // namespace molora
