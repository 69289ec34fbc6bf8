// Dropout whose masks are never stored: they are a function of (key, sample, position, channel)
// (tensor/philox_tensor.h), drawn again in the backward pass.
#pragma once

#include "kernels/bodies/device_code.h"
#include "kernels/bodies/number.h"

namespace molora {

struct PhiloxWords {
  uint32_t x, y, z, w;
};

// philox_4x32_10 of base/philox.h.
MOLORA_DEVICE PhiloxWords philox_words(uint64_t key, PhiloxWords c) {
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{0xD2511F53} * c.x;
    const uint64_t product1 = uint64_t{0xCD9E8D57} * c.z;
    c = {static_cast<uint32_t>(product1 >> 32) ^ c.y ^ key0, static_cast<uint32_t>(product1),
         static_cast<uint32_t>(product0 >> 32) ^ c.w ^ key1, static_cast<uint32_t>(product0)};
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return c;
}

// y = x * mask; the gradient goes the same way. A thread has the channels of one Philox block, four
// neighbours of the whole tensor, of which the slice may begin or end in the middle.
template <typename Number>
struct ApplyDropout {
  static constexpr int kThreads = 256;
  static constexpr bool kMeetsThreads = false;
  using Shared = NothingShared;

  const Number* x;           // [tokens, channels of the slice]
  Number* y;                 // the same
  const int64_t* samples;    // [tokens]
  const int64_t* positions;  // [tokens]
  int64_t num_tokens;
  int64_t first_channel;  // of the slice, in the whole tensor
  int64_t num_channels;
  uint64_t key;
  uint32_t drop_below;
  Wide<Number> kept;           // 1 / (1 - p), rounded to Number
  RowGroups<kThreads> groups;  // over the Philox blocks of a token

  static int64_t blocks_of(int64_t first_channel, int64_t num_channels) {
    return divide_up(first_channel + num_channels, 4) - first_channel / 4;
  }
  int64_t num_blocks() const { return num_channels == 0 ? 0 : groups.num_blocks(num_tokens); }

  template <typename Thread>
  MOLORA_DEVICE void operator()(const Thread& thread, Shared&) const {
    const int64_t token = groups.row(thread);
    if (token >= num_tokens) return;
    const auto sample = static_cast<uint64_t>(samples[token]);
    const auto position = static_cast<uint32_t>(positions[token]);
    const int64_t end = first_channel + num_channels;
    const int64_t row = token * num_channels - first_channel;
    for (int64_t block = first_channel / 4 + groups.column(thread); 4 * block < end;
         block += groups.size()) {
      const PhiloxWords words =
          philox_words(key, {static_cast<uint32_t>(block), position, static_cast<uint32_t>(sample),
                             static_cast<uint32_t>(sample >> 32)});
      const uint32_t of_channel[] = {words.x, words.y, words.z, words.w};
      for (int i = 0; i < 4; ++i) {
        const int64_t channel = 4 * block + i;
        if (channel < first_channel || channel >= end) continue;
        const Wide<Number> mask = of_channel[i] < drop_below ? Wide<Number>{0} : kept;
        y[row + channel] = round_to<Number>(to_wide(x[row + channel]) * mask);
      }
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_DROPOUT_BODIES(use) \
  use(ApplyDropout<float>) use(ApplyDropout<BFloat16>) use(ApplyDropout<double>)
