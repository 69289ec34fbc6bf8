// The frozen weights of a published model: found, checked whole, and handed out read-only.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include <ATen/ATen.h>

#include "io/safetensors.h"
#include "model/architecture.h"

namespace molora {

using at::Tensor;

// A parameter that the architecture has: its published name and its shape.
struct ExpectedTensor {
  std::string name;
  Shape shape;
};

// Every tensor that a model of this architecture must bring, in the order of the forward pass.
std::vector<ExpectedTensor> expected_tensors(const Architecture& architecture);

// The weights of one model folder (model.safetensors, or the shards of
// model.safetensors.index.json).
//
// All files are mapped and checked when the object is made: every expected tensor is there once
// with its shape and a floating-point type, none is left over, every value is finite. Tensors of
// the requested type read the mapping in place and cannot be written; others are converted copies.
class BaseWeights {
 public:
  // Throws: DataError with file, tensor and reason; IoError.
  BaseWeights(const std::filesystem::path& folder, const Architecture& architecture,
              at::ScalarType compute_type);

  // The tensor of this published name; undefined when the architecture has none (a bias, say).
  Tensor get(const std::string& name) const;

  // 32 hexadecimal digits over name, type, shape and stored bytes of every tensor: equal for equal
  // weights however they are split into files, whatever the compute type.
  const std::string& fingerprint() const { return fingerprint_; }
  int64_t stored_bytes() const { return stored_bytes_; }

  // The fingerprint of the tensors as they are in memory now: a test of "frozen".
  std::string memory_fingerprint() const;

 private:
  std::unordered_map<std::string, Tensor> tensors_;
  std::vector<std::string> names_;
  std::string fingerprint_;
  int64_t stored_bytes_ = 0;
};

}  // namespace molora
