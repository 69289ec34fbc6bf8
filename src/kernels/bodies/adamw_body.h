// One AdamW update of many tensors (train/adamw.h) by few kernels: a table in the arguments says
// which block works on which part of which tensor.
#pragma once

#include <cstddef>

#include "kernels/bodies/device_code.h"
#include "kernels/bodies/number.h"

namespace molora {

// A run of elements with their state. Frozen rows are in no run.
template <typename Number>
struct AdamWRun {
  Number* value;
  Number* first;
  Number* second;
  const Number* gradient;
  int64_t count;
};

// What all elements are updated with, each rounded to Number by itself as LibTorch's operators do.
template <typename Number>
struct AdamWRates {
  Number decay;         // 1 - learning rate * weight decay
  Number first_weight;  // 1 - beta1
  Number beta2;
  Number second_weight;        // 1 - beta2
  Number root_of_correction2;  // sqrt(1 - beta2^t)
  Number eps;
  Number minus_step;      // -learning rate / (1 - beta1^t)
  Number gradient_scale;  // of every gradient, before all else
};

template <typename Number>
struct UpdateRuns {
  static constexpr int kThreads = 256;
  static constexpr bool kMeetsThreads = false;
  using Shared = NothingShared;
  static constexpr int kElementsPerBlock = 8 * kThreads;
  // As many as fit into the 4 KiB of arguments that every driver takes.
  static constexpr int kMaxRuns = 80;

  AdamWRates<Number> rates;
  int num_runs;                           // 0 in a new table, as all else
  int first_block[size_t{kMaxRuns} + 1];  // of each run; then the number of blocks
  AdamWRun<Number> runs[size_t{kMaxRuns}];

  int64_t num_blocks() const { return first_block[num_runs]; }

  // Whether one more run of so many elements fits into the table and the grid.
  bool has_room(int64_t count) const {
    return num_runs < kMaxRuns && num_blocks() + divide_up(count, kElementsPerBlock) <= INT32_MAX;
  }
  // REQUIRES: has_room(run.count).
  void add(const AdamWRun<Number>& run) {
    runs[num_runs] = run;
    first_block[num_runs + 1] =
        static_cast<int>(num_blocks() + divide_up(run.count, kElementsPerBlock));
    ++num_runs;
  }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int run = run_of_block(static_cast<int>(thread.block()));
    const AdamWRun<Number>& at = runs[run];
    const int64_t begin = (thread.block() - first_block[run]) * kElementsPerBlock;
    for (int i = thread.index(); i < kElementsPerBlock; i += kThreads) {
      if (begin + i < at.count) update(at, begin + i);
    }
  }

 private:
  // The last run that begins at this block or before it.
  MOLORA_DEVICE int run_of_block(int block) const {
    int low = 0;
    int high = num_runs;
    while (high - low > 1) {
      const int middle = (low + high) / 2;
      if (first_block[middle] <= block) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return low;
  }

  MOLORA_DEVICE void update(const AdamWRun<Number>& run, int64_t i) const {
    const Number gradient = run.gradient[i] * rates.gradient_scale;
    const Number first = lerp(run.first[i], gradient, rates.first_weight);
    const Number second = run.second[i] * rates.beta2 + rates.second_weight * gradient * gradient;
    const Number denominator = sqrt_of(second) / rates.root_of_correction2 + rates.eps;
    run.first[i] = first;
    run.second[i] = second;
    run.value[i] = run.value[i] * rates.decay + rates.minus_step * first / denominator;
  }

  // From the nearer end, as LibTorch has it.
  MOLORA_DEVICE static Number lerp(Number from, Number to, Number weight) {
    return weight < Number{0.5} ? from + weight * (to - from)
                                : to - (to - from) * (Number{1} - weight);
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_ADAMW_BODIES(use) use(UpdateRuns<float>) use(UpdateRuns<double>)
