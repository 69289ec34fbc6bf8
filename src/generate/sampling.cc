#include "generate/sampling.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/check.h"
#include "base/philox.h"

namespace molora {

namespace {

// A number in [0, 1) with 53 random bits.
double uniform(uint64_t seed, int64_t sequence, int64_t position) {
  const uint64_t key =
      philox_key(seed, RandomPurpose::kSampling, "token", static_cast<uint64_t>(sequence));
  const auto p = static_cast<uint64_t>(position);
  const PhiloxBlock words =
      philox_4x32_10(key, {static_cast<uint32_t>(p), static_cast<uint32_t>(p >> 32), 0, 0});
  const uint64_t bits = ((uint64_t{words[0]} << 32) | words[1]) >> 11;
  return static_cast<double>(bits) / 9007199254740992.0;
}

}  // namespace

int32_t choose_token(std::span<const float> logits, const SamplingOptions& options,
                     int64_t sequence, int64_t position) {
  MOLORA_CHECK(!logits.empty());
  const auto largest = std::max_element(logits.begin(), logits.end());
  if (options.temperature <= 0.0) return static_cast<int32_t>(largest - logits.begin());

  // Most likely first; equal logits by id, so that the draw does not depend on the sort.
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto more_likely = [&logits](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)];
    const float y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  size_t kept = order.size();
  if (options.top_k > 0) kept = std::min(kept, static_cast<size_t>(options.top_k));
  const auto kept_end = order.begin() + static_cast<std::ptrdiff_t>(kept);
  std::partial_sort(order.begin(), kept_end, order.end(), more_likely);

  std::vector<double> weight(kept);
  double total = 0.0;
  for (size_t i = 0; i < kept; ++i) {
    const double z = logits[static_cast<size_t>(order[i])] - *largest;
    total += weight[i] = std::exp(z / options.temperature);
  }
  double limit = 0.0;
  for (size_t i = 0; i < kept; ++i) {
    limit += weight[i];
    if (limit >= options.top_p * total) {
      kept = i + 1;
      break;
    }
  }
  double left = uniform(options.seed, sequence, position) * limit;
  for (size_t i = 0; i + 1 < kept; ++i) {
    left -= weight[i];
    if (left < 0.0) return order[i];
  }
  return order[kept - 1];
}

}  // namespace molora
