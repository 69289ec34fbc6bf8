#include "eval/paired_tests.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "base/check.h"
#include "base/philox.h"

namespace molora {

double mcnemar_p(int64_t only_first, int64_t only_second) {
  MOLORA_CHECK(only_first >= 0 && only_second >= 0, "{} and {} items", only_first, only_second);
  const int64_t trials = only_first + only_second;
  const int64_t fewer = std::min(only_first, only_second);
  const auto n = static_cast<double>(trials);
  const auto k = static_cast<double>(fewer);
  // P(exactly `fewer`), then down to 0 by the ratio of neighbours.
  double term = std::exp(std::lgamma(n + 1.0) - std::lgamma(k + 1.0) - std::lgamma(n - k + 1.0) -
                         n * std::numbers::ln2);
  double tail = term;
  for (double successes = k; successes > 0.0; successes -= 1.0) {
    term *= successes / (n - successes + 1.0);
    tail += term;
  }
  return std::min(1.0, 2.0 * tail);
}

std::vector<double> permuted_differences(const TaskScorer& both, std::string_view task,
                                         const ResamplingOptions& options) {
  MOLORA_CHECK(both.num_items() % 2 == 0, "{} results of pairs", both.num_items());
  const size_t pairs = both.num_items() / 2;
  const uint64_t key = philox_key(options.seed, RandomPurpose::kBootstrap, task, 1);
  std::vector<uint32_t> first(both.num_items());
  std::vector<uint32_t> second(both.num_items());
  std::vector<double> differences;
  for (int round = 0; round < options.resamples; ++round) {
    PhiloxBlock words{};
    for (size_t i = 0; i < pairs; ++i) {
      if (i % 128 == 0) {
        words = philox_4x32_10(
            key, {static_cast<uint32_t>(i / 128), 0, static_cast<uint32_t>(round), 0});
      }
      const uint32_t swaps = (words[i % 128 / 32] >> (i % 32)) & 1u;
      first[i] = second[pairs + i] = 1u - swaps;
      first[pairs + i] = second[i] = swaps;
    }
    differences.push_back(both.score(second) - both.score(first));
  }
  return differences;
}

double permutation_p(const std::vector<double>& differences, double observed) {
  constexpr double kRounding = 1e-12;  // sums of the same numbers in another order
  const auto as_far = std::count_if(differences.begin(), differences.end(), [&](double d) {
    return std::abs(d) >= std::abs(observed) - kRounding;
  });
  return (1.0 + static_cast<double>(as_far)) / (1.0 + static_cast<double>(differences.size()));
}

std::vector<double> holm_adjusted(const std::vector<double>& p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double largest = 0.0;
  for (size_t i = 0; i < order.size(); ++i) {
    const double p = static_cast<double>(order.size() - i) * p_values[order[i]];
    largest = std::max(largest, std::min(1.0, p));
    adjusted[order[i]] = largest;
  }
  return adjusted;
}

}  // namespace molora
