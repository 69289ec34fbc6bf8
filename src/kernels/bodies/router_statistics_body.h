// What a router did, summed over tokens: the choices of each expert, the full softmax and
// logsumexp^2, in fp64.
//
// Two passes, so that the order of the sums depends on the number of tokens alone: each block sums
// its tokens in their order; then one warp for each column sums the blocks.
//
//   T tokens, E experts, K experts per token, C chunks of tokens
#pragma once

#include <cstddef>

#include "kernels/bodies/device_code.h"
#include "kernels/bodies/meet.h"
#include "kernels/bodies/number.h"

namespace molora {

constexpr int kStatisticsChunk = 128;
inline int64_t num_statistics_chunks(int64_t num_tokens) {
  return divide_up(num_tokens, kStatisticsChunk);
}

template <typename Number>
struct SumTokensOfChunk {
  static constexpr int kThreads = kStatisticsChunk;
  static constexpr bool kMeetsThreads = true;
  static constexpr int kLeastBlocks = 1;
  // By token of the chunk.
  struct Shared {
    double largest[size_t{kThreads}];
    double sum[size_t{kThreads}];
    double inverse_sum[size_t{kThreads}];
  };

  const Number* logits;   // [tokens, experts]
  const int64_t* chosen;  // [tokens, k]
  double* sums;           // [chunks, experts + 1]: the softmax; last logsumexp^2
  int64_t* counts;        // [chunks, experts]
  int64_t num_tokens;
  int num_experts;
  int experts_per_token;

  int64_t num_blocks() const { return num_statistics_chunks(num_tokens); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared& shared) const {
    const int64_t begin = thread.block() * kThreads;
    const int length =
        static_cast<int>(num_tokens - begin < kThreads ? num_tokens - begin : kThreads);
    if (thread.index() < length) {
      const Number* logit = logits + (begin + thread.index()) * num_experts;
      double largest = -INFINITY;
      for (int e = 0; e < num_experts; ++e) {
        const double value = to_double(logit[e]);
        largest = value > largest ? value : largest;
      }
      double sum = 0;
      for (int e = 0; e < num_experts; ++e) sum += exp(to_double(logit[e]) - largest);
      shared.largest[thread.index()] = largest;
      shared.sum[thread.index()] = sum;
      shared.inverse_sum[thread.index()] = 1.0 / sum;
    }
    thread.sync();
    for (int e = thread.index(); e <= num_experts; e += kThreads) {
      const int64_t at = thread.block() * (num_experts + 1) + e;
      sums[at] =
          e < num_experts ? sum_of_shares(shared, begin, length, e) : sum_of_z(shared, length);
      if (e < num_experts) counts[thread.block() * num_experts + e] = count_of(begin, length, e);
    }
  }

 private:
  MOLORA_DEVICE static double to_double(Number value) { return static_cast<double>(value); }

  MOLORA_DEVICE double sum_of_shares(const Shared& shared, int64_t begin, int length,
                                     int expert) const {
    double sum = 0;
    for (int t = 0; t < length; ++t) {
      const double logit = to_double(logits[(begin + t) * num_experts + expert]);
      sum += exp(logit - shared.largest[t]) * shared.inverse_sum[t];
    }
    return sum;
  }

  MOLORA_DEVICE static double sum_of_z(const Shared& shared, int length) {
    double sum = 0;
    for (int t = 0; t < length; ++t) {
      const double z = shared.largest[t] + log(shared.sum[t]);
      sum += z * z;
    }
    return sum;
  }

  MOLORA_DEVICE int64_t count_of(int64_t begin, int length, int expert) const {
    if (experts_per_token == num_experts) return length;
    int64_t count = 0;
    const int64_t* choice = chosen + begin * experts_per_token;
    for (int64_t i = 0; i < int64_t{length} * experts_per_token; ++i) count += choice[i] == expert;
    return count;
  }
};

// Adds the sums of the chunks to the totals. One warp has one column.
struct AddChunks {
  static constexpr int kThreads = kWarpLanes;
  static constexpr bool kMeetsThreads = true;
  using Shared = NothingShared;

  const double* sums;     // [chunks, experts + 1]
  const int64_t* counts;  // [chunks, experts]
  int64_t* total_counts;  // [experts]
  double* total_shares;   // [experts]
  double* total_z;        // [1]
  int64_t num_chunks;
  int num_experts;

  int64_t num_blocks() const { return num_chunks == 0 ? 0 : num_experts + 1; }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t column = thread.block();
    const bool is_expert = column < num_experts;
    double sum = 0;
    int64_t count = 0;
    for (int64_t chunk = thread.index(); chunk < num_chunks; chunk += kThreads) {
      sum += sums[chunk * (num_experts + 1) + column];
      if (is_expert) count += counts[chunk * num_experts + column];
    }
    sum = sum_over_lanes(thread, sum, kThreads);
    count = sum_over_lanes(thread, count, kThreads);
    if (thread.index() != 0) return;
    if (is_expert) {
      total_counts[column] += count;
      total_shares[column] += sum;
    } else {
      *total_z += sum;
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_ROUTER_STATISTICS_BODIES(use) \
  use(SumTokensOfChunk<float>) use(SumTokensOfChunk<double>) use(AddChunks)
