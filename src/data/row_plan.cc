#include "data/row_plan.h"

#include <limits>
#include <numeric>
#include <set>
#include <utility>

#include "base/check.h"
#include "base/philox.h"

namespace molora {

namespace {

std::vector<uint32_t> sample_order(const RowPlanRequest& request) {
  std::vector<uint32_t> order(request.lengths.size());
  std::iota(order.begin(), order.end(), uint32_t{0});
  if (!request.shuffle) return order;
  const uint64_t key =
      philox_key(request.seed, RandomPurpose::kShuffle, "", static_cast<uint64_t>(request.epoch));
  for (size_t i = order.size(); i-- > 1;) {
    std::swap(order[i], order[philox_below(key, i, i + 1)]);
  }
  return order;
}

}  // namespace

std::vector<std::vector<uint32_t>> plan_rows(const RowPlanRequest& request) {
  MOLORA_CHECK(request.lengths.size() < std::numeric_limits<uint32_t>::max(), "{} samples",
               request.lengths.size());
  std::vector<std::vector<uint32_t>> rows;
  std::set<std::pair<uint32_t, uint32_t>> open_rows;  // (tokens left, row)
  for (const uint32_t sample : sample_order(request)) {
    const uint32_t length = request.lengths[sample];
    MOLORA_CHECK(length > 0 && length <= request.max_length, "sample {} has {} tokens, a row {}",
                 sample, length, request.max_length);
    const auto best = open_rows.lower_bound({length, 0});
    if (best == open_rows.end()) {
      const auto row = static_cast<uint32_t>(rows.size());
      rows.push_back({sample});
      if (request.packing) open_rows.insert({request.max_length - length, row});
    } else {
      const auto [left, row] = *best;
      rows[row].push_back(sample);
      open_rows.erase(best);
      open_rows.insert({left - length, row});
    }
    if (open_rows.size() > RowPlanRequest::kOpenRows) open_rows.erase(open_rows.begin());
  }
  return rows;
}

double fill_rate(const RowPlanRequest& request, const std::vector<std::vector<uint32_t>>& rows) {
  if (rows.empty()) return 0;
  double tokens = 0;
  for (const auto& row : rows) {
    for (const uint32_t sample : row) tokens += request.lengths[sample];
  }
  return tokens / (static_cast<double>(rows.size()) * request.max_length);
}

}  // namespace molora
