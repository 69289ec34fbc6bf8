// Which samples go together into the rows of one epoch, and in which order the rows come.
//
// Order: Fisher-Yates over the samples with Philox numbers keyed by (seed, epoch), or the order of
// the data without shuffling.
//
// Packing: best fit decreasing within windows of that order. The samples of kWindow places in a row
// are taken from the longest to the shortest (the earlier place among equals); each goes into the
// open row that it fills best (least space left over, the older one among equals), or opens a new
// row when it fits into none. Rows stay open for later windows; of more than kOpenRows the one with
// the least space left is closed. Rows come in the order of the places of the samples that opened
// them. So sorting moves a sample by a window at most, and a row stands where the shuffle put one
// sample of it, whatever the lengths.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace molora {

struct RowPlanRequest {
  std::span<const uint32_t> lengths;  // tokens of each sample, 1 to max_length
  uint32_t max_length = 0;            // tokens of a row, at most
  uint64_t seed = 0;
  int64_t epoch = 0;
  bool shuffle = true;
  bool packing = true;

  static constexpr size_t kWindow = 1024;
  static constexpr size_t kOpenRows = 256;
};

// The rows of the epoch: each sample stands in exactly one of them. A pure function of the request;
// O(n log n). REQUIRES: lengths within their bounds, fewer than 2^32 samples.
std::vector<std::vector<uint32_t>> plan_rows(const RowPlanRequest& request);

// Tokens in rows as a share of rows * max_length, 0 without rows.
double fill_rate(const RowPlanRequest& request, const std::vector<std::vector<uint32_t>>& rows);

}  // namespace molora
