// The gated unit of an MLP, y = silu(gate) * up with silu(g) = g / (1 + exp(-g)), and its gradients
// (Shazeer 2020, arXiv 2002.05202). All of it in at least fp32, rounded once.
#pragma once

#include "kernels/host/exponential.h"
#include "kernels/host/loop_code.h"

namespace molora {

template <typename Number>
struct SwigluLoop {
  const Number* gate;  // [rows, columns]
  const Number* up;    // [rows, columns]
  Number* y;           // [rows, columns], rows without gaps
  int64_t num_columns;
  int64_t gate_stride;  // from row to row
  int64_t up_stride;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      const Number* of_gate = gate + row * gate_stride;
      const Number* of_up = up + row * up_stride;
      Number* of_y = y + row * num_columns;
      MOLORA_INDEPENDENT
      for (int64_t i = 0; i < num_columns; ++i) {
        const Wide<Number> g = to_wide(of_gate[i]);
        of_y[i] = round_to<Number>(g / (1 + exp_of_loop(-g)) * to_wide(of_up[i]));
      }
    }
  }
};

// With s = 1 / (1 + exp(-g)): d_gate = dy * up * s * (1 + g * (1 - s)), d_up = dy * g * s.
template <typename Number>
struct SwigluBackwardLoop {
  const Number* gate;
  const Number* up;
  const Number* d_y;  // [rows, columns], rows without gaps
  Number* d_gate;     // the same
  Number* d_up;
  int64_t num_columns;
  int64_t gate_stride;
  int64_t up_stride;

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    for (int64_t row = begin; row < end; ++row) {
      const Number* of_gate = gate + row * gate_stride;
      const Number* of_up = up + row * up_stride;
      const Number* of_d_y = d_y + row * num_columns;
      Number* of_d_gate = d_gate + row * num_columns;
      Number* of_d_up = d_up + row * num_columns;
      MOLORA_INDEPENDENT
      for (int64_t i = 0; i < num_columns; ++i) {
        const Wide<Number> g = to_wide(of_gate[i]);
        const Wide<Number> d = to_wide(of_d_y[i]);
        const Wide<Number> s = 1 / (1 + exp_of_loop(-g));
        of_d_gate[i] = round_to<Number>(d * to_wide(of_up[i]) * (s * (1 + g * (1 - s))));
        of_d_up[i] = round_to<Number>(d * (g * s));
      }
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_SWIGLU_LOOPS(use)                                           \
  use(SwigluLoop<float>) use(SwigluLoop<BFloat16>) use(SwigluLoop<double>) \
      use(SwigluBackwardLoop<float>) use(SwigluBackwardLoop<BFloat16>)     \
          use(SwigluBackwardLoop<double>)
