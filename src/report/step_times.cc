#include "report/step_times.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "base/philox.h"

namespace molora {

namespace {

constexpr int kDraws = 2000;
constexpr double kOutside = 0.025;  // on each side of the interval

}  // namespace

double quantile(std::vector<double> values, double share) {
  MOLORA_CHECK(!values.empty() && share >= 0 && share <= 1, "{} values, share {}", values.size(),
               share);
  std::sort(values.begin(), values.end());
  const double at = share * static_cast<double>(values.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, values.size() - 1);
  return std::lerp(values[below], values[above], at - static_cast<double>(below));
}

Spread spread_of(const std::vector<double>& values) {
  return {quantile(values, 0), quantile(values, 0.25), quantile(values, 0.5),
          quantile(values, 0.75), quantile(values, 1)};
}

TimeRatio paired_ratio(const std::vector<double>& first, const std::vector<double>& second,
                       uint64_t seed) {
  MOLORA_CHECK_EQ(first.size(), second.size());
  const uint64_t key = philox_key(seed, RandomPurpose::kBootstrap, "paired_ratio", 0);
  const size_t count = first.size();
  std::vector<double> ratios;
  std::vector<double> a(count);
  std::vector<double> b(count);
  for (uint64_t draw = 0; draw < kDraws; ++draw) {
    for (size_t i = 0; i < count; ++i) {
      const uint32_t pair = philox_below(key, draw * count + i, count);
      a[i] = first[pair];
      b[i] = second[pair];
    }
    ratios.push_back(median(b) / median(a));
  }
  return {median(second) / median(first), quantile(ratios, kOutside),
          quantile(ratios, 1 - kOutside)};
}

}  // namespace molora
