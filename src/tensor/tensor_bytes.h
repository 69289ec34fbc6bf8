// Between LibTorch tensors and stored bytes.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include <ATen/ATen.h>

#include "io/dtype.h"
#include "io/safetensors.h"

namespace molora {

using at::Tensor;

at::ScalarType scalar_type(DType dtype);
// Throws: InternalError for types that are never stored.
DType stored_dtype(at::ScalarType type);

// The bytes of a dense CPU tensor. Valid while the tensor lives. REQUIRES: contiguous, on the CPU.
std::span<const std::byte> tensor_bytes(const Tensor& tensor);
std::span<std::byte> mutable_tensor_bytes(Tensor& tensor);

// The elements as a span of their C++ type (double, float, int64_t, int32_t, ...).
template <typename Number>
std::span<Number> elements(const Tensor& tensor) {
  return {tensor.data_ptr<Number>(), static_cast<size_t>(tensor.numel())};
}

// A stored tensor as a LibTorch tensor that reads the mapped file in place: no copy, read-only
// (writing to it ends in a signal), and the file stays mapped while any such tensor lives. Bytes
// that are not aligned for their type are copied.
Tensor mapped_tensor(const std::shared_ptr<const SafetensorsFile>& file, const TensorEntry& entry);

}  // namespace molora
