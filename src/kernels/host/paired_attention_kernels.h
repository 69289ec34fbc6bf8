// Causal attention of one head in bf16 by instructions that multiply pairs of bf16 and sum them in
// fp32 (AVX512-BF16): what is multiplied by rows of a matrix is packed once, for all its products.
//
// Plain pointers and no C++ library, as in expert_rows_kernels.h.
//
//   S tokens of a sequence, A head size: a multiple of kPairedLanes
//   P = S rounded up to kPairedLanes; packed matrices hold zeros beyond S
//   a word is two neighbours as bf16, the first in the lower half
#pragma once

#include <cstdint>

#include "kernels/bodies/number.h"
#include "kernels/host/attention_loop.h"

namespace molora {

constexpr int64_t kPairedLanes = 16;
MOLORA_LOOP int64_t whole_lanes(int64_t count) {  // rounded up
  return (count + kPairedLanes - 1) / kPairedLanes * kPairedLanes;
}

// One head of a [tokens, heads, head size] matrix, at the first token of a sequence.
template <typename Element>
struct HeadRows {
  Element* first;
  int64_t step;  // elements from token to token

  MOLORA_LOOP Element* row(int64_t token) const { return first + token * step; }
};

struct PairedShape {
  int64_t length;     // S
  int64_t head_size;  // A
  int64_t window;     // keys that a token sees, itself included; 0: all up to itself
  float scale;

  MOLORA_LOOP int64_t padded() const { return whole_lanes(length); }
  MOLORA_LOOP int64_t words() const { return padded() * head_size / 2; }  // of a packed matrix
};

struct PairedForward {
  PairedShape shape;
  HeadRows<const BFloat16> q;
  const uint32_t* keys_AP;    // packed by pack_columns
  const uint32_t* values_PA;  // packed by pack_rows
  HeadRows<BFloat16> out;
  SoftmaxRow<float>* softmax_rows;  // of token t: t * softmax_step
  int64_t softmax_step;
  float* space;
};

struct PairedBackward {
  PairedShape shape;
  HeadRows<const BFloat16> q;
  HeadRows<const BFloat16> d_out;
  const uint32_t* keys_AP;    // packed by pack_columns
  const uint32_t* keys_PA;    // packed by pack_rows
  const uint32_t* values_AP;  // packed by pack_columns
  const SoftmaxRow<float>* softmax_rows;
  int64_t softmax_step;
  HeadRows<BFloat16> d_q;
  float* d_keys_PA;    // added to
  float* d_values_PA;  // added to
  float* space;
};

struct PairedAttentionKernels {
  // words_AP[a, s]: numbers 2a and 2a + 1 of token s.
  void (*pack_columns)(const PairedShape&, HeadRows<const BFloat16> rows, uint32_t* words_AP);
  // words_PA[s, a]: number a of tokens 2s and 2s + 1.
  void (*pack_rows)(const PairedShape&, HeadRows<const BFloat16> rows, uint32_t* words_PA);
  void (*attend)(const PairedForward&);
  void (*attend_backward)(const PairedBackward&);
  // to = from, rounded.
  void (*round)(const PairedShape&, const float* from_PA, HeadRows<BFloat16> to);
  // The size of `space`: memory that a thread works in.
  int64_t (*floats_forward)(const PairedShape&);
  int64_t (*floats_backward)(const PairedShape&);
};

PairedAttentionKernels paired_attention_avx512bf16();

}  // namespace molora
