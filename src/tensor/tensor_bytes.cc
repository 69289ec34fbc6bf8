#include "tensor/tensor_bytes.h"

#include <cstdint>
#include <cstring>

#include "base/check.h"

namespace molora {

at::ScalarType scalar_type(DType dtype) {
  switch (dtype) {
    case DType::kF64:
      return at::kDouble;
    case DType::kF32:
      return at::kFloat;
    case DType::kF16:
      return at::kHalf;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kI64:
      return at::kLong;
    case DType::kI32:
      return at::kInt;
    case DType::kI16:
      return at::kShort;
    case DType::kI8:
      return at::kChar;
    case DType::kU8:
      return at::kByte;
    case DType::kBool:
      return at::kBool;
  }
  MOLORA_CHECK(false, "dtype {}", static_cast<int>(dtype));
  return at::kFloat;
}

DType stored_dtype(at::ScalarType type) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kF16, DType::kBF16, DType::kI64,
                            DType::kI32, DType::kI16, DType::kI8, DType::kU8, DType::kBool}) {
    if (scalar_type(dtype) == type) return dtype;
  }
  MOLORA_CHECK(false, "element type {} is not stored", at::toString(type));
  return DType::kF32;
}

std::span<const std::byte> tensor_bytes(const Tensor& tensor) {
  MOLORA_CHECK(tensor.is_contiguous() && tensor.is_cpu());
  return {static_cast<const std::byte*>(tensor.const_data_ptr()), tensor.nbytes()};
}

std::span<std::byte> mutable_tensor_bytes(Tensor& tensor) {
  MOLORA_CHECK(tensor.is_contiguous() && tensor.is_cpu());
  return {static_cast<std::byte*>(tensor.data_ptr()), tensor.nbytes()};
}

Tensor mapped_tensor(const std::shared_ptr<const SafetensorsFile>& file, const TensorEntry& entry) {
  const std::span<const std::byte> bytes = file->bytes(entry);
  const auto options = at::TensorOptions().dtype(scalar_type(entry.dtype));
  const auto address = reinterpret_cast<uintptr_t>(bytes.data());
  if (bytes.empty() || address % dtype_bytes(entry.dtype) != 0) {
    Tensor copy = at::empty(entry.shape, options);
    if (!bytes.empty()) std::memcpy(copy.data_ptr(), bytes.data(), bytes.size());
    return copy;
  }
  // LibTorch has no read-only tensors; the mapping itself refuses writes.
  void* data = const_cast<std::byte*>(bytes.data());
  return at::from_blob(
      data, entry.shape, [file](void*) {}, options);
}

}  // namespace molora
