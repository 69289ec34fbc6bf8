// The order in which token rows are sent: by destination, within one by token.
//
// A warp has the tokens of one chunk that go to one destination. It counts them; one warp turns the
// counts into where each (destination, chunk) begins; then every warp gives its tokens their
// places.
//
//   T tokens, P destinations, C chunks of tokens, S rows sent
#pragma once

#include "kernels/bodies/device_code.h"

namespace molora {

constexpr int kExchangeChunk = 1024;
inline int64_t num_exchange_chunks(int64_t num_tokens) {
  return divide_up(num_tokens, kExchangeChunk);
}

MOLORA_DEVICE int count_bits(unsigned bits) {
#if defined(__CUDA_ARCH__)
  return __popc(bits);
#else
  return __builtin_popcount(bits);
#endif
}

// begins[destination, chunk] = how many tokens of the chunk go to the destination.
struct CountNeeded {
  static constexpr int kThreads = kWarpLanes;
  static constexpr bool kMeetsThreads = true;
  using Shared = NothingShared;

  const bool* needed;  // [tokens, destinations]
  int64_t* begins;     // [destinations, chunks]
  int64_t num_tokens;
  int64_t num_destinations;

  int64_t num_blocks() const { return num_exchange_chunks(num_tokens) * num_destinations; }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t chunk = thread.block() / num_destinations;
    const int64_t destination = thread.block() % num_destinations;
    int64_t count = 0;
    for (int i = 0; i < kExchangeChunk; i += kWarpLanes) {
      const int64_t token = chunk * kExchangeChunk + i + thread.index();
      const bool goes = token < num_tokens && needed[token * num_destinations + destination];
      count += count_bits(thread.ballot(goes));
    }
    if (thread.index() == 0) begins[destination * num_exchange_chunks_here() + chunk] = count;
  }

 private:
  MOLORA_DEVICE int64_t num_exchange_chunks_here() const {
    return (num_tokens + kExchangeChunk - 1) / kExchangeChunk;
  }
};

// Counts into begins, in place, and the rows per destination. One warp goes through all of them.
struct BeginDestinations {
  static constexpr int kThreads = kWarpLanes;
  static constexpr bool kMeetsThreads = true;
  using Shared = NothingShared;

  int64_t* begins;  // [destinations, chunks]
  int64_t* counts;  // [destinations]
  int64_t num_chunks;
  int64_t num_destinations;

  int64_t num_blocks() const { return num_destinations == 0 ? 0 : 1; }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    int64_t begin = 0;
    for (int64_t destination = 0; destination < num_destinations; ++destination) {
      const int64_t first = begin;
      for (int64_t chunk = 0; chunk < num_chunks; chunk += kWarpLanes) {
        const int64_t mine = chunk + thread.index();
        int64_t* at = begins + destination * num_chunks + mine;
        const int64_t count = mine < num_chunks ? *at : 0;
        const int64_t before = count_before(thread, count);
        if (mine < num_chunks) *at = begin + before;
        begin += total(thread, count);
      }
      if (thread.index() == 0) counts[destination] = begin - first;
    }
  }

 private:
  // The sum over the lanes below this one, from the sums over ever larger aligned groups of lanes.
  template <typename Thread>
  MOLORA_DEVICE static int64_t count_before(const Thread& thread, int64_t count) {
    int64_t group = count;
    int64_t before = 0;
    for (int mask = 1; mask < kWarpLanes; mask *= 2) {
      const int64_t other = thread.shuffle_xor(group, mask);
      if ((thread.index() & mask) != 0) before += other;
      group += other;
    }
    return before;
  }
  template <typename Thread>
  MOLORA_DEVICE static int64_t total(const Thread& thread, int64_t count) {
    for (int mask = 1; mask < kWarpLanes; mask *= 2) count += thread.shuffle_xor(count, mask);
    return count;
  }
};

// position_TP: the row in which a token goes to a destination, -1 where it does not.
struct PlaceTokens {
  static constexpr int kThreads = kWarpLanes;
  static constexpr bool kMeetsThreads = true;
  using Shared = NothingShared;

  const bool* needed;     // [tokens, destinations]
  const int64_t* begins;  // [destinations, chunks]
  int64_t* position;      // [tokens, destinations]
  int64_t num_tokens;
  int64_t num_destinations;

  int64_t num_blocks() const { return num_exchange_chunks(num_tokens) * num_destinations; }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t num_chunks = (num_tokens + kExchangeChunk - 1) / kExchangeChunk;
    const int64_t chunk = thread.block() / num_destinations;
    const int64_t destination = thread.block() % num_destinations;
    const unsigned lower_lanes = (1u << thread.index()) - 1;
    int64_t next = begins[destination * num_chunks + chunk];
    for (int i = 0; i < kExchangeChunk; i += kWarpLanes) {
      const int64_t token = chunk * kExchangeChunk + i + thread.index();
      const int64_t at = token * num_destinations + destination;
      const bool goes = token < num_tokens && needed[at];
      const unsigned all = thread.ballot(goes);
      if (token < num_tokens) position[at] = goes ? next + count_bits(all & lower_lanes) : -1;
      next += count_bits(all);
    }
  }
};

// The other way round: token and destination of each row.
struct ListSentRows {
  static constexpr int kThreads = 256;
  static constexpr bool kMeetsThreads = false;
  using Shared = NothingShared;

  const int64_t* position;  // [tokens, destinations]
  int64_t* tokens;          // [rows]
  int64_t* destinations;    // [rows]
  int64_t num_pairs;        // tokens * destinations
  int64_t num_destinations;
  int64_t num_rows;

  int64_t num_blocks() const { return divide_up(num_pairs, kThreads); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t at = thread.block() * kThreads + thread.index();
    if (at >= num_pairs) return;
    const int64_t row = position[at];
    if (row < 0) return;
    if (row >= num_rows) thread.fail();
    tokens[row] = at / num_destinations;
    destinations[row] = at % num_destinations;
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_EXCHANGE_INDEX_BODIES(use) \
  use(CountNeeded) use(BeginDestinations) use(PlaceTokens) use(ListSentRows)
