// Rotary position embedding in the half-split layout, and its transpose: the formulas and the
// rounding of bodies/rotary_body.h.
//
//   T tokens, H heads, A head size
#pragma once

#include "kernels/bodies/rotary_body.h"
#include "kernels/host/loop_code.h"

namespace molora {

// A row is a token. Heads and tokens of x may lie apart; the numbers of a head are neighbours.
template <typename Number>
struct RotaryLoop {
  const Number* x;
  const Number* cos;  // [tokens, 2, half]
  const Number* sin;
  Number* y;  // [tokens, heads, 2, half]
  int64_t num_heads;
  int64_t half;
  int64_t token_stride;  // of x
  int64_t head_stride;   // of x
  RotaryTurn turn;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    // Forward, what a half gains from the other is turned by its own angle, backward by the
    // other's; the tables may differ between the halves.
    const bool is_forward = turn == RotaryTurn::kForward;
    for (int64_t token = begin; token < end; ++token) {
      const Number* of_cos = cos + token * 2 * half;
      const Number* of_sin = sin + token * 2 * half;
      for (int64_t head = 0; head < num_heads; ++head) {
        const Number* of_x = x + token * token_stride + head * head_stride;
        Number* of_y = y + (token * num_heads + head) * 2 * half;
        if (is_forward) {
          turn_head(of_x, of_cos, of_sin, of_y);
        } else {
          turn_head_back(of_x, of_cos, of_sin, of_y);
        }
      }
    }
  }

 private:
  MOLORA_LOOP void turn_head(const Number* of_x, const Number* of_cos, const Number* of_sin,
                             Number* of_y) const {
    MOLORA_INDEPENDENT
    for (int64_t i = 0; i < half; ++i) {
      const Number low = of_x[i];
      const Number high = of_x[half + i];
      of_y[i] = round_to<Number>(times(low, of_cos[i]) - times(high, of_sin[i]));
      of_y[half + i] =
          round_to<Number>(times(high, of_cos[half + i]) + times(low, of_sin[half + i]));
    }
  }
  MOLORA_LOOP void turn_head_back(const Number* of_x, const Number* of_cos, const Number* of_sin,
                                  Number* of_y) const {
    MOLORA_INDEPENDENT
    for (int64_t i = 0; i < half; ++i) {
      const Number low = of_x[i];
      const Number high = of_x[half + i];
      of_y[i] = round_to<Number>(times(low, of_cos[i]) + times(high, of_sin[half + i]));
      of_y[half + i] = round_to<Number>(times(high, of_cos[half + i]) - times(low, of_sin[i]));
    }
  }
  MOLORA_LOOP static Wide<Number> times(Number a, Number b) {
    return to_wide(round_to<Number>(to_wide(a) * to_wide(b)));
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_ROTARY_LOOPS(use) \
  use(RotaryLoop<float>) use(RotaryLoop<BFloat16>) use(RotaryLoop<double>)
