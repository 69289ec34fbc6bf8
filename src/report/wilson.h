// The uncertainty of a measured proportion.
#pragma once

#include <cstdint>

namespace molora {

struct Interval {
  double low = 0.0;
  double high = 1.0;
  bool contains(double value) const { return low <= value && value <= high; }
};

// The 95 % score interval of `successes` out of `trials` (E. B. Wilson, "Probable inference, the
// law of succession, and statistical inference", JASA 22, 1927): honest for few trials and for
// proportions near 0 and 1, where the normal approximation is not. No trials: [0, 1].
Interval wilson_interval(int64_t successes, int64_t trials);

}  // namespace molora
