// Rows picked by index: rows_S[s] = x[index_S[s]], as bytes.
#pragma once

#include "kernels/bodies/device_code.h"

namespace molora {

// What is copied at once.
template <int kBytes>
struct alignas(kBytes) ByteUnit {
  unsigned char bytes[static_cast<unsigned>(kBytes)];
};
template <>
struct ByteUnit<16> {
  alignas(16) uint64_t halves[2];
};
template <>
struct ByteUnit<8> {
  uint64_t value;
};
template <>
struct ByteUnit<4> {
  uint32_t value;
};
template <>
struct ByteUnit<2> {
  uint16_t value;
};

template <int kUnitBytes>
struct GatherRows {
  static constexpr int kThreads = 256;
  static constexpr bool kMeetsThreads = false;
  using Shared = NothingShared;
  using Unit = ByteUnit<kUnitBytes>;

  const Unit* x;         // [rows of x, row_units]
  const int64_t* index;  // [rows]: each within x
  Unit* rows;            // [rows, row_units]
  int64_t num_x_rows;
  int64_t num_rows;
  int64_t row_units;
  RowGroups<kThreads> groups;

  int64_t num_blocks() const { return row_units == 0 ? 0 : groups.num_blocks(num_rows); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t row = groups.row(thread);
    if (row >= num_rows) return;
    const int64_t from = index[row];
    if (from < 0 || from >= num_x_rows) thread.fail();
    for (int64_t i = groups.column(thread); i < row_units; i += groups.size()) {
      rows[row * row_units + i] = x[from * row_units + i];
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_GATHER_ROWS_BODIES(use) \
  use(GatherRows<16>) use(GatherRows<8>) use(GatherRows<4>) use(GatherRows<2>) use(GatherRows<1>)
