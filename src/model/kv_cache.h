// Keys and values of the tokens that a set of sequences has already seen, for generation.
#pragma once

#include <cstdint>
#include <vector>

#include <ATen/ATen.h>

namespace molora {

using at::Tensor;

// One cache serves one set of sequences through one model. Not for training: nothing in it carries
// gradients.
//   S tokens of one sequence, H key-value heads, A head size
class KvCache {
 public:
  KvCache(int64_t num_layers, int64_t num_sequences);

  // Adds the keys and values of new tokens of a sequence ([new, kv heads, head_dim] each) and
  // returns all of that sequence in this layer: [cached + new, kv heads, head_dim] each, valid
  // until the next append to the same place.
  struct KeysValues {
    Tensor keys_SHA;
    Tensor values_SHA;
  };
  KeysValues append(int64_t layer, int64_t sequence, const Tensor& new_keys_SHA,
                    const Tensor& new_values_SHA);

  // Tokens of this sequence that layer 0 has seen.
  int64_t length(int64_t sequence) const;
  int64_t num_sequences() const { return num_sequences_; }

  // A sequence that has seen nothing yet, behind the others.
  void add_sequence();
  // Keeps only these sequences, in this order (finished ones leave the batch).
  void keep(const std::vector<int64_t>& sequences);

 private:
  // Storage grows by doubling; the first `length` rows are filled.
  struct Slot {
    Tensor keys;
    Tensor values;
    int64_t length = 0;
  };
  Slot& slot(int64_t layer, int64_t sequence);

  int64_t num_layers_;
  int64_t num_sequences_;
  std::vector<Slot> slots_;  // sequence * num_layers + layer
};

}  // namespace molora
