// Dropout whose masks are never stored: those of tensor/philox_tensor.h, drawn again in the
// backward pass.
#pragma once

#include "kernels/host/loop_code.h"

namespace molora {

// A row is a token. Words of Philox are drawn for a tile of neighbouring channels at a time, each
// block of four words in a lane of its own.
template <typename Number>
struct DropoutLoop {
  static constexpr int kBlocks = 16;  // of four channels, in a tile

  const Number* x;           // [tokens, channels of the slice]
  Number* y;                 // the same
  const int64_t* samples;    // [tokens]
  const int64_t* positions;  // [tokens]
  int64_t first_channel;     // of the slice, in the whole tensor
  int64_t num_channels;
  uint64_t key;
  uint32_t drop_below;
  Wide<Number> kept;  // 1 / (1 - p), rounded to Number

  MOLORA_LOOP void operator()(int64_t begin, int64_t end) const {
    const int64_t end_channel = first_channel + num_channels;
    const uint32_t dropped = drop_below;
    const Wide<Number> factor = kept;
    for (int64_t token = begin; token < end; ++token) {
      // Of channel 0, which may lie before the slice: only channels of the slice are read.
      const int64_t row = token * num_channels - first_channel;
      for (int64_t tile = first_channel / 4; 4 * tile < end_channel; tile += kBlocks) {
        uint32_t words[4 * kBlocks];  // by channel of the tile
        draw(token, tile, words);
        const int64_t first = 4 * tile < first_channel ? first_channel : 4 * tile;
        const int64_t last =
            4 * (tile + kBlocks) < end_channel ? 4 * (tile + kBlocks) : end_channel;
        MOLORA_INDEPENDENT
        for (int64_t channel = first; channel < last; ++channel) {
          const Wide<Number> mask = words[channel - 4 * tile] < dropped ? Wide<Number>{0} : factor;
          y[row + channel] = round_to<Number>(to_wide(x[row + channel]) * mask);
        }
      }
    }
  }

 private:
  // philox_4x32_10 of base/philox.h for the blocks tile ... tile + kBlocks - 1 of a token.
  MOLORA_LOOP void draw(int64_t token, int64_t tile, uint32_t* words) const {
    const auto sample = static_cast<uint64_t>(samples[token]);
    const auto position = static_cast<uint32_t>(positions[token]);
    uint32_t c0[kBlocks];
    uint32_t c1[kBlocks];
    uint32_t c2[kBlocks];
    uint32_t c3[kBlocks];
    for (int lane = 0; lane < kBlocks; ++lane) {
      c0[lane] = static_cast<uint32_t>(tile) + static_cast<uint32_t>(lane);
      c1[lane] = position;
      c2[lane] = static_cast<uint32_t>(sample);
      c3[lane] = static_cast<uint32_t>(sample >> 32);
    }
    auto key0 = static_cast<uint32_t>(key);
    auto key1 = static_cast<uint32_t>(key >> 32);
    for (int round = 0; round < 10; ++round) {
#pragma GCC unroll 1  // into vectors, not into single steps
      for (int lane = 0; lane < kBlocks; ++lane) {
        const uint64_t product0 = uint64_t{0xD2511F53} * c0[lane];
        const uint64_t product1 = uint64_t{0xCD9E8D57} * c2[lane];
        c0[lane] = static_cast<uint32_t>(product1 >> 32) ^ c1[lane] ^ key0;
        c1[lane] = static_cast<uint32_t>(product1);
        c2[lane] = static_cast<uint32_t>(product0 >> 32) ^ c3[lane] ^ key1;
        c3[lane] = static_cast<uint32_t>(product0);
      }
      key0 += 0x9E3779B9;
      key1 += 0xBB67AE85;
    }
    for (int64_t lane = 0; lane < kBlocks; ++lane) {
      words[4 * lane] = c0[lane];
      words[4 * lane + 1] = c1[lane];
      words[4 * lane + 2] = c2[lane];
      words[4 * lane + 3] = c3[lane];
    }
  }
};

}  // namespace molora

// Every instance that the program uses.
#define MOLORA_DROPOUT_LOOPS(use) \
  use(DropoutLoop<float>) use(DropoutLoop<BFloat16>) use(DropoutLoop<double>)
