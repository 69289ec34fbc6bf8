// Philox 4x32-10: random numbers as a pure function of (key, counter), so that a run has no
// generator state: every layout, rank order and resumed run draws the same numbers.
//
// Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as
// 1, 2, 3", SC 2011. Checked against the known answers published with Random123.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace molora {

using PhiloxBlock = std::array<uint32_t, 4>;

// Four independent uniform 32-bit words for this key and counter.
inline PhiloxBlock philox_4x32_10(uint64_t key, const PhiloxBlock& counter) {
  constexpr uint32_t kMultiplier0 = 0xD2511F53;
  constexpr uint32_t kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9;
  constexpr uint32_t kWeyl1 = 0xBB67AE85;
  auto key0 = static_cast<uint32_t>(key);
  auto key1 = static_cast<uint32_t>(key >> 32);
  PhiloxBlock c = counter;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = uint64_t{kMultiplier0} * c[0];
    const uint64_t product1 = uint64_t{kMultiplier1} * c[2];
    c = {static_cast<uint32_t>(product1 >> 32) ^ c[1] ^ key0, static_cast<uint32_t>(product1),
         static_cast<uint32_t>(product0 >> 32) ^ c[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return c;
}

// What a stream of numbers is for. Part of the key: two purposes never share numbers. The values
// are part of the run's definition and must not be reused or renumbered.
enum class RandomPurpose : uint32_t {
  kAdapterInit = 1,
  kShuffle = 2,
  kDropout = 3,
  kSampling = 4,
  kBootstrap = 5,
  kExpertDraw = 6,
  kRevival = 7,
};

// The key of one stream: a run seed, a purpose, a name (parameter, layer, ...; may be empty) and an
// index (step, epoch, ...), mixed by Philox itself and FNV-1a over the name.
inline uint64_t philox_key(uint64_t seed, RandomPurpose purpose, std::string_view name,
                           uint64_t index) {
  uint64_t name_hash = 0xcbf29ce484222325;
  for (const char c : name) {
    name_hash = (name_hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  const PhiloxBlock a =
      philox_4x32_10(seed, {static_cast<uint32_t>(purpose), static_cast<uint32_t>(name_hash),
                            static_cast<uint32_t>(name_hash >> 32), 0x6d6f6c6f});
  const uint64_t mixed = (uint64_t{a[0]} << 32) | a[1];
  const PhiloxBlock b = philox_4x32_10(
      mixed, {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), a[2], a[3]});
  return (uint64_t{b[0]} << 32) | b[1];
}

// A word as a double in [0, 1), exact in 32 bits.
inline double philox_unit(uint32_t word) { return word * (1.0 / 4294967296.0); }

// An unbiased integer in [0, bound) for position `index` of the stream `key` (Lemire, "Fast random
// integer generation in an interval", 2019, arXiv 1805.10941; rejection uses further counters).
// REQUIRES: 0 < bound <= 2^32.
inline uint32_t philox_below(uint64_t key, uint64_t index, uint64_t bound) {
  for (uint32_t attempt = 0;; ++attempt) {
    const PhiloxBlock words = philox_4x32_10(
        key, {static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32), attempt, 0});
    for (const uint32_t word : words) {
      const uint64_t product = uint64_t{word} * bound;
      const uint64_t threshold = (uint64_t{1} << 32) % bound;
      if ((product & 0xffffffffu) >= threshold) return static_cast<uint32_t>(product >> 32);
    }
  }
}

}  // namespace molora
