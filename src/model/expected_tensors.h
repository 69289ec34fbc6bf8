// The tensors that a model of an architecture must bring, and which part of each a tp rank holds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/architecture.h"
#include "model/tensor_box.h"

namespace molora {

// How the ranks of the tp axis share a tensor. Column-parallel linears (q, k, v, gate, up) are
// split by their outputs, row-parallel ones (o, down) by their inputs.
enum class TensorSplit {
  kWhole,           // every rank has all of it: norms, biases of row-parallel linears
  kRows,            // even parts of dim 0: weight [out / tp, in], bias [out / tp]
  kColumns,         // even parts of dim 1: weight [out, in / tp]
  kKvHeadRows,      // rows of whole key-value heads: kv_head_slice() times head_dim
  kVocabularyRows,  // balanced parts of dim 0, which need not be equal
};

// A parameter that the architecture has: its published name, its whole shape and its split.
struct ExpectedTensor {
  std::string name;
  Shape shape;
  TensorSplit split = TensorSplit::kWhole;
  bool is_linear_weight = false;  // the matrix of a linear of a layer: may be kept quantised
};

// Every tensor that a model of this architecture must bring, in the order of the forward pass.
std::vector<ExpectedTensor> expected_tensors(const Architecture& architecture);

// The part of `tensor` that rank `tp_rank` of `tp` holds. The parts of all ranks cover the tensor
// once; only whole tensors and the key-value heads of tp > num_kv_heads are held by several.
// REQUIRES: tp divides num_heads and intermediate_size, and divides or is a multiple of
// num_kv_heads; `tensor` is one of expected_tensors(architecture).
TensorBox held_box(const Architecture& architecture, const ExpectedTensor& tensor, int64_t tp,
                   int64_t tp_rank);

}  // namespace molora
