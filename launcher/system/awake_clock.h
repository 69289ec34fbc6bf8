// Seconds that this process was there to see: a time in which it could not run, because its whole
// job was suspended (`scontrol suspend`, a laptop's lid), does not count as silence of others.
#pragma once

#include <algorithm>
#include <chrono>

namespace molora {

class AwakeClock {
 public:
  // REQUIRES: called several times a second while the process runs.
  double now() {
    const auto wall = std::chrono::steady_clock::now();
    seconds_ += std::min(std::chrono::duration<double>(wall - last_).count(), kLongestStep);
    last_ = wall;
    return seconds_;
  }

 private:
  static constexpr double kLongestStep = 2.0;
  double seconds_ = 0.0;
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

}  // namespace molora
