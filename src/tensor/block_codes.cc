#include "tensor/block_codes.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "tensor/blockwise_quantization.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// The compiler makes the loops once for each of these and the loader chooses. Not where sanitizers
// run before the loader has chosen; there the plain loops are tested.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && \
    !defined(__SANITIZE_ADDRESS__)
#define MOLORA_HAS_WIDE_REGISTERS
#define MOLORA_FOR_EACH_PROCESSOR \
  __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define MOLORA_FOR_EACH_PROCESSOR
#endif
// What such a function calls has to become part of it.
#define MOLORA_INLINED __attribute__((always_inline)) inline

namespace molora {

namespace {

constexpr int64_t kInt8Width = block_width(BlockFormat::kInt8);
constexpr int64_t kNf4Width = block_width(BlockFormat::kNf4);

// Halfway between two levels, to the last bit as bitsandbytes has them (where halfway lies between
// two numbers of fp32, it depends on the rounding which of them it is).
constexpr std::array<float, 15> kMiddles = {
    -0.8480964004993439F,  -0.6106329262256622F,  -0.4599952697753906F,   -0.33967943489551544F,
    -0.23460740596055984F, -0.13791173323988914F, -0.045525018125772476F, 0.03979014977812767F,
    0.1202552504837513F,   0.2035212516784668F,   0.2920137718319893F,    0.3893125355243683F,
    0.5016634166240692F,   0.6427869200706482F,   0.8614784181118011F};

// The two levels of each byte: one load for two values.
constexpr std::array<std::array<float, 2>, 256> levels_of_bytes() {
  std::array<std::array<float, 2>, 256> levels = {};
  for (size_t byte = 0; byte < levels.size(); ++byte) {
    levels[byte] = {kNf4Levels[byte >> 4], kNf4Levels[byte & 15]};
  }
  return levels;
}
constexpr std::array<std::array<float, 2>, 256> kLevelsOfBytes = levels_of_bytes();

MOLORA_INLINED void store(float value, float& out) { out = value; }
MOLORA_INLINED void store(float value, double& out) { out = static_cast<double>(value); }
// To bf16, to the nearest, a tie to the even one. REQUIRES: finite.
MOLORA_INLINED void store(float value, uint16_t& out) {
  const auto bits = std::bit_cast<uint32_t>(value);
  out = static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

template <typename Number>
MOLORA_INLINED void decode_int8_run(const int8_t* __restrict codes, const float* __restrict scales,
                                    const BlockRun& run, Number* __restrict out) {
  int64_t end = std::min(kInt8Width - run.offset, run.length);
  for (int64_t begin = 0, block = 0; begin < run.length; ++block) {
    const float scale = scales[block];
    for (int64_t i = begin; i < end; ++i) store(static_cast<float>(codes[i]) * scale, out[i]);
    begin = end;
    end = std::min(end + kInt8Width, run.length);
  }
}

// Levels are looked up for some blocks at a time and then scaled: a vector of levels that is loaded
// right after its parts were stored would wait for them.
template <typename Number>
MOLORA_INLINED void decode_nf4_run(const uint8_t* __restrict codes, const float* __restrict scales,
                                   const BlockRun& run, Number* __restrict out) {
  constexpr int64_t kBlocks = 16;
  float levels[kBlocks * kNf4Width];
  // Halves of bytes are counted, the one that is not of the run included.
  const int64_t not_of_run = run.offset % 2;
  const int64_t total = not_of_run + run.length;
  int64_t block_end = kNf4Width - (run.offset - not_of_run);
  for (int64_t first = 0; first < total;) {
    const int64_t last = std::min(block_end + (kBlocks - 1) * kNf4Width, total);
    for (int64_t i = 0; i < (last - first + 1) / 2; ++i) {
      std::memcpy(levels + 2 * i, kLevelsOfBytes[codes[first / 2 + i]].data(), 2 * sizeof(float));
    }
    for (int64_t begin = first; begin < last; block_end += kNf4Width, ++scales) {
      const int64_t end = std::min(block_end, last);
      const float scale = *scales;
      for (int64_t i = std::max(begin, not_of_run); i < end; ++i) {
        store(levels[i - first] * scale, out[i - not_of_run]);
      }
      begin = end;
    }
    first = last;
  }
}

MOLORA_FOR_EACH_PROCESSOR
void decode_nf4_anywhere(const uint8_t* codes, const float* scales, const BlockRun& run,
                         float* out) {
  decode_nf4_run(codes, scales, run, out);
}
MOLORA_FOR_EACH_PROCESSOR
void decode_nf4_anywhere(const uint8_t* codes, const float* scales, const BlockRun& run,
                         double* out) {
  decode_nf4_run(codes, scales, run, out);
}
MOLORA_FOR_EACH_PROCESSOR
void decode_nf4_anywhere(const uint8_t* codes, const float* scales, const BlockRun& run,
                         uint16_t* out) {
  decode_nf4_run(codes, scales, run, out);
}

#ifdef MOLORA_HAS_WIDE_REGISTERS

// A register holds the 16 levels, already scaled, and is looked up for 16 or 32 codes at once: the
// compiler does not make this of a loop, and it takes a fifth of the time.
#define MOLORA_WIDE __attribute__((target("arch=x86-64-v4"), always_inline)) inline

// The codes of 16 bytes in their order, one a byte.
MOLORA_WIDE __m256i codes_of_bytes(const uint8_t* bytes) {
  const __m128i both = _mm_loadu_si128(reinterpret_cast<const __m128i*>(bytes));
  const __m128i half = _mm_set1_epi8(15);
  const __m128i high = _mm_and_si128(_mm_srli_epi16(both, 4), half);
  const __m128i low = _mm_and_si128(both, half);
  return _mm256_set_m128i(_mm_unpackhi_epi8(high, low), _mm_unpacklo_epi8(high, low));
}

MOLORA_WIDE void look_up(__m512 scaled, __m256i codes, float* out) {
  const __m512i first = _mm512_cvtepu8_epi32(_mm256_castsi256_si128(codes));
  const __m512i second = _mm512_cvtepu8_epi32(_mm256_extracti128_si256(codes, 1));
  _mm512_storeu_ps(out, _mm512_permutexvar_ps(first, scaled));
  _mm512_storeu_ps(out + 16, _mm512_permutexvar_ps(second, scaled));
}
MOLORA_WIDE void look_up(__m512 scaled, __m256i codes, double* out) {
  float values[32];
  look_up(scaled, codes, values);
  for (int i = 0; i < 32; ++i) out[i] = static_cast<double>(values[i]);
}
// Rounds as store() does.
MOLORA_WIDE void look_up(__m512 scaled, __m256i codes, uint16_t* out) {
  const __m512i bits = _mm512_castps_si512(scaled);
  const __m512i is_odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
  const __m512i rounded =
      _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), is_odd);
  const __m256i table = _mm512_cvtepi32_epi16(_mm512_srli_epi32(rounded, 16));
  _mm512_storeu_si512(
      out, _mm512_permutexvar_epi16(_mm512_cvtepu8_epi16(codes), _mm512_castsi256_si512(table)));
}

// Whole blocks.
template <typename Number>
__attribute__((target("arch=x86-64-v4"))) void decode_nf4_wide(const uint8_t* codes,
                                                               const float* scales,
                                                               int64_t num_blocks, Number* out) {
  const __m512 levels = _mm512_loadu_ps(kNf4Levels.data());
  for (int64_t block = 0; block < num_blocks; ++block) {
    const __m512 scaled = _mm512_mul_ps(levels, _mm512_set1_ps(scales[block]));
    look_up(scaled, codes_of_bytes(codes), out);
    look_up(scaled, codes_of_bytes(codes + kNf4Width / 4), out + kNf4Width / 2);
    codes += kNf4Width / 2;
    out += kNf4Width;
  }
}

template <typename Number>
void decode_nf4_here(const uint8_t* codes, const float* scales, const BlockRun& run, Number* out) {
  static const bool has_wide = __builtin_cpu_supports("x86-64-v4");
  if (!has_wide) return decode_nf4_anywhere(codes, scales, run, out);
  int64_t done = 0;
  if (run.offset > 0) {
    done = std::min(kNf4Width - run.offset, run.length);
    decode_nf4_anywhere(codes, scales, {run.offset, done}, out);
    codes += (run.offset % 2 + done) / 2;
    ++scales;
  }
  const int64_t num_blocks = (run.length - done) / kNf4Width;
  decode_nf4_wide(codes, scales, num_blocks, out + done);
  done += num_blocks * kNf4Width;
  if (done == run.length) return;
  decode_nf4_anywhere(codes + num_blocks * kNf4Width / 2, scales + num_blocks,
                      {0, run.length - done}, out + done);
}

#else

template <typename Number>
void decode_nf4_here(const uint8_t* codes, const float* scales, const BlockRun& run, Number* out) {
  decode_nf4_anywhere(codes, scales, run, out);
}

#endif

}  // namespace

MOLORA_FOR_EACH_PROCESSOR
uint32_t largest_magnitude_bits(const float* __restrict values, int64_t count) {
  uint32_t largest = 0;
  for (int64_t i = 0; i < count; ++i) {
    // Magnitudes are ordered as their bits are.
    largest = std::max(largest, std::bit_cast<uint32_t>(values[i]) & 0x7fff'ffffU);
  }
  return largest;
}

MOLORA_FOR_EACH_PROCESSOR
float encode_int8(const float* __restrict values, int64_t count, float magnitude,
                  int8_t* __restrict codes) {
  // In a number of this size the last bit stands for 1: adding it rounds to a whole number.
  constexpr float kRounding = 12582912.0F;
  const float scale = magnitude / 127.0F;
  const float divisor = scale > 0.0F ? scale : 1.0F;
  for (int64_t i = 0; i < count; ++i) {
    const float code = std::min(std::max(values[i] / divisor, -127.0F), 127.0F);
    codes[i] = static_cast<int8_t>(std::bit_cast<int32_t>(code + kRounding) -
                                   std::bit_cast<int32_t>(kRounding));
  }
  return scale;
}

MOLORA_FOR_EACH_PROCESSOR
float encode_nf4(const float* __restrict values, int64_t count, float magnitude,
                 uint8_t* __restrict codes) {
  const float divisor = magnitude > 0.0F ? magnitude : 1.0F;
  for (int64_t i = 0; i < count; ++i) {
    const float value = values[i] / divisor;
    int32_t code = 0;
    for (const float middle : kMiddles) code += value > middle ? 1 : 0;
    codes[i] = static_cast<uint8_t>(code);
  }
  return magnitude;
}

MOLORA_FOR_EACH_PROCESSOR
void decode_int8(const int8_t* codes, const float* scales, const BlockRun& run, float* out) {
  decode_int8_run(codes, scales, run, out);
}
MOLORA_FOR_EACH_PROCESSOR
void decode_int8(const int8_t* codes, const float* scales, const BlockRun& run, double* out) {
  decode_int8_run(codes, scales, run, out);
}
MOLORA_FOR_EACH_PROCESSOR
void decode_int8(const int8_t* codes, const float* scales, const BlockRun& run, uint16_t* out) {
  decode_int8_run(codes, scales, run, out);
}

void decode_nf4(const uint8_t* codes, const float* scales, const BlockRun& run, float* out) {
  decode_nf4_here(codes, scales, run, out);
}
void decode_nf4(const uint8_t* codes, const float* scales, const BlockRun& run, double* out) {
  decode_nf4_here(codes, scales, run, out);
}
void decode_nf4(const uint8_t* codes, const float* scales, const BlockRun& run, uint16_t* out) {
  decode_nf4_here(codes, scales, run, out);
}

}  // namespace molora
