// One row of a quantised matrix on the CPU, in the instructions of the processor that it runs on:
// the loops of tensor/blockwise_quantization.h.
#pragma once

#include <cstdint>

namespace molora {

// The values of one row that lie in one or more blocks, seen from the first of those blocks.
struct BlockRun {
  int64_t offset = 0;  // values of the first block before the run, less than a block
  int64_t length = 0;
};

// The bits of the largest magnitude; from kNotFiniteBits on, one of the values is infinite or NaN.
constexpr uint32_t kNotFiniteBits = 0x7f80'0000;
uint32_t largest_magnitude_bits(const float* values, int64_t count);

// codes[i] for each of `count` values of a block with this largest magnitude. Return the scale.
float encode_int8(const float* values, int64_t count, float magnitude, int8_t* codes);
float encode_nf4(const float* values, int64_t count, float magnitude, uint8_t* codes);

// One byte a code. out: run.length values; `scales` from the first block on.
void decode_int8(const int8_t* codes, const float* scales, const BlockRun& run, float* out);
void decode_int8(const int8_t* codes, const float* scales, const BlockRun& run, double* out);
// out: bf16.
void decode_int8(const int8_t* codes, const float* scales, const BlockRun& run, uint16_t* out);

// Two codes a byte; with an odd offset the first is the low half of the first byte.
void decode_nf4(const uint8_t* codes, const float* scales, const BlockRun& run, float* out);
void decode_nf4(const uint8_t* codes, const float* scales, const BlockRun& run, double* out);
void decode_nf4(const uint8_t* codes, const float* scales, const BlockRun& run, uint16_t* out);

}  // namespace molora
