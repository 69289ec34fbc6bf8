#include "data/row_plan.h"

#include <algorithm>
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

struct Row {
  size_t place = 0;  // in the order, of the sample that opened it
  std::vector<uint32_t> samples;
};

// Rows while they are being filled.
class Packer {
 public:
  explicit Packer(const RowPlanRequest& request) : request_(request) {}

  void add(uint32_t sample, size_t place) {
    const uint32_t length = request_.lengths[sample];
    const auto best = open_.lower_bound({length, 0});
    if (best == open_.end()) {
      open_.insert({request_.max_length - length, static_cast<uint32_t>(rows_.size())});
      rows_.push_back({place, {sample}});
      if (open_.size() > RowPlanRequest::kOpenRows) open_.erase(open_.begin());
    } else {
      const auto [left, row] = *best;
      rows_[row].samples.push_back(sample);
      open_.erase(best);
      open_.insert({left - length, row});
    }
  }
  std::vector<Row> take() { return std::move(rows_); }

 private:
  const RowPlanRequest& request_;
  std::vector<Row> rows_;
  std::set<std::pair<uint32_t, uint32_t>> open_;  // (tokens left, row)
};

std::vector<Row> pack(const RowPlanRequest& request, const std::vector<uint32_t>& order) {
  Packer packer(request);
  std::vector<size_t> window;
  for (size_t begin = 0; begin < order.size(); begin += window.size()) {
    window.resize(std::min(RowPlanRequest::kWindow, order.size() - begin));
    std::iota(window.begin(), window.end(), begin);
    std::stable_sort(window.begin(), window.end(), [&](size_t a, size_t b) {
      return request.lengths[order[a]] > request.lengths[order[b]];
    });
    for (const size_t place : window) packer.add(order[place], place);
  }
  std::vector<Row> rows = packer.take();
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) { return a.place < b.place; });
  return rows;
}

}  // namespace

std::vector<std::vector<uint32_t>> plan_rows(const RowPlanRequest& request) {
  MOLORA_CHECK(request.lengths.size() < std::numeric_limits<uint32_t>::max(), "{} samples",
               request.lengths.size());
  for (size_t i = 0; i < request.lengths.size(); ++i) {
    MOLORA_CHECK(request.lengths[i] > 0 && request.lengths[i] <= request.max_length,
                 "sample {} has {} tokens, a row {}", i, request.lengths[i], request.max_length);
  }
  const std::vector<uint32_t> order = sample_order(request);
  std::vector<std::vector<uint32_t>> rows;
  if (request.packing) {
    for (Row& row : pack(request, order)) rows.push_back(std::move(row.samples));
  } else {
    for (const uint32_t sample : order) rows.push_back({sample});
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
