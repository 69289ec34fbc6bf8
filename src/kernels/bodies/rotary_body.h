// Rotary position embedding in the half-split layout (model/rope.h), and its transpose. Each
// product and each sum is rounded to x's type, as LibTorch's operators do.
//
//   T tokens, H heads, A head size
#pragma once

#include "kernels/bodies/device_code.h"
#include "kernels/bodies/number.h"

namespace molora {

enum class RotaryTurn { kForward, kBackward };

template <typename Number, int kPack>
struct ApplyRotary {
  static constexpr int kThreads = 256;
  static constexpr bool kMeetsThreads = false;
  using Shared = NothingShared;
  using Unit = Pack<Number, kPack>;

  const Unit* x;    // [tokens, heads, 2, half_units]
  const Unit* cos;  // [tokens, 2, half_units]
  const Unit* sin;
  Unit* y;            // as x
  int64_t num_heads;  // of all tokens together
  int64_t heads_per_token;
  int64_t half_units;
  RotaryTurn turn;
  RowGroups<kThreads> groups;  // a row is a head

  int64_t num_blocks() const { return half_units == 0 ? 0 : groups.num_blocks(num_heads); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t head = groups.row(thread);
    if (head >= num_heads) return;
    const int64_t table = head / heads_per_token * 2 * half_units;
    const bool is_forward = turn == RotaryTurn::kForward;
    for (int64_t i = groups.column(thread); i < half_units; i += groups.size()) {
      const int64_t low = head * 2 * half_units + i;
      const Unit x_low = x[low];
      const Unit x_high = x[low + half_units];
      const Unit cos_low = cos[table + i];
      const Unit cos_high = cos[table + half_units + i];
      // Forward, what a half gains from the other is turned by its own angle, backward by the
      // other's; the tables may differ between the halves.
      const Unit sin_to_low = sin[table + (is_forward ? i : half_units + i)];
      const Unit sin_to_high = sin[table + (is_forward ? half_units + i : i)];
      Unit y_low;
      Unit y_high;
      for (int j = 0; j < kPack; ++j) {
        const Wide<Number> to_low = times(x_high.values[j], sin_to_low.values[j]);
        const Wide<Number> to_high = times(x_low.values[j], sin_to_high.values[j]);
        const Wide<Number> low_kept = times(x_low.values[j], cos_low.values[j]);
        const Wide<Number> high_kept = times(x_high.values[j], cos_high.values[j]);
        y_low.values[j] = round_to<Number>(is_forward ? low_kept - to_low : low_kept + to_low);
        y_high.values[j] = round_to<Number>(is_forward ? high_kept + to_high : high_kept - to_high);
      }
      y[low] = y_low;
      y[low + half_units] = y_high;
    }
  }

 private:
  MOLORA_DEVICE static Wide<Number> times(Number a, Number b) {
    return to_wide(round_to<Number>(to_wide(a) * to_wide(b)));
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_ROTARY_BODIES(use)                                                     \
  use(ApplyRotary<float, 4>) use(ApplyRotary<float, 1>) use(ApplyRotary<BFloat16, 8>) \
      use(ApplyRotary<BFloat16, 1>) use(ApplyRotary<double, 2>) use(ApplyRotary<double, 1>)
