// Results back at their tokens: the sum over the destinations that a token went to, in rank order
// and at least fp32, rounded once.
#pragma once

#include "kernels/bodies/device_code.h"
#include "kernels/bodies/number.h"

namespace molora {

template <typename Number, int kPack>
struct CombineRows {
  static constexpr int kThreads = 256;
  static constexpr bool kMeetsThreads = false;
  using Shared = NothingShared;
  using Unit = Pack<Number, kPack>;

  const Unit* rows;         // [rows, row_units]
  const int64_t* position;  // [tokens, destinations]: a row, or -1
  Unit* sums;               // [tokens, row_units]
  int64_t num_rows;
  int64_t num_tokens;
  int64_t num_destinations;
  int64_t row_units;
  RowGroups<kThreads> groups;  // a row is a token

  int64_t num_blocks() const { return row_units == 0 ? 0 : groups.num_blocks(num_tokens); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t token = groups.row(thread);
    if (token >= num_tokens) return;
    const int64_t* row = position + token * num_destinations;
    for (int64_t i = groups.column(thread); i < row_units; i += groups.size()) {
      Wide<Number> sum[size_t{kPack}] = {};
      for (int64_t p = 0; p < num_destinations; ++p) {
        if (row[p] < 0) continue;
        if (row[p] >= num_rows) thread.fail();
        const Unit unit = rows[row[p] * row_units + i];
        for (int j = 0; j < kPack; ++j) sum[j] += to_wide(unit.values[j]);
      }
      Unit rounded;
      for (int j = 0; j < kPack; ++j) rounded.values[j] = round_to<Number>(sum[j]);
      sums[token * row_units + i] = rounded;
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_COMBINE_ROWS_BODIES(use)                                               \
  use(CombineRows<float, 4>) use(CombineRows<float, 1>) use(CombineRows<BFloat16, 8>) \
      use(CombineRows<BFloat16, 1>) use(CombineRows<double, 2>) use(CombineRows<double, 1>)
