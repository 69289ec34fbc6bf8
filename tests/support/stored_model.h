// Small random models of any architecture and stored type, and their tensors written to a file.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/ATen.h>

#include "io/safetensors.h"
#include "model/expected_tensors.h"
#include "support/golden_folder.h"
#include "tensor/philox_tensor.h"
#include "tensor/tensor_bytes.h"

namespace molora::testing {

inline void write_tensors(const std::filesystem::path& path, const TensorMap& tensors) {
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const auto& [name, tensor] : tensors) {
    declarations.push_back({name, stored_dtype(tensor.scalar_type()), tensor.sizes().vec()});
  }
  SafetensorsWriter writer(path, declarations, {});
  for (const auto& [name, tensor] : tensors) writer.write_next(tensor_bytes(tensor.contiguous()));
  writer.finish();
}

// 24 heads of 2; no row of 15 elements ends where the next tensor of 4 bytes could begin.
inline Architecture small_architecture(int64_t num_kv_heads) {
  Architecture a;
  a.vocab_size = 37;
  a.hidden_size = 15;
  a.intermediate_size = 48;
  a.num_layers = 2;
  a.num_heads = 24;
  a.num_kv_heads = num_kv_heads;
  a.head_dim = 2;
  return a;
}

// Every tensor that the architecture asks for, with values that are nowhere exact in fewer bits.
inline TensorMap random_tensors(const Architecture& architecture, at::ScalarType type,
                                uint64_t seed = 5) {
  TensorMap tensors;
  for (const ExpectedTensor& expected : expected_tensors(architecture)) {
    at::Tensor value = at::empty(expected.shape, at::kDouble);
    fill_uniform(value, 1.0, seed++, 0);
    tensors[expected.name] = value.to(type);
  }
  return tensors;
}

}  // namespace molora::testing
