// One tensor of a model's files: read in blocks, or a box of it loaded in the type asked for.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include <ATen/ATen.h>

#include "io/safetensors.h"
#include "model/tensor_box.h"

namespace molora {

using at::Tensor;

struct StoredTensor {
  std::shared_ptr<const SafetensorsFile> file;
  TensorEntry entry;
};

// Throws: DataError "file: tensor name: what".
[[noreturn]] void throw_data_error(const StoredTensor& tensor, const std::string& what);

// The stored bytes front to back, in blocks of whole elements that are valid during the call. They
// are read into one buffer of a few MiB, not mapped: nothing of them stays in memory.
// Throws: IoError, and what `use` throws.
void read_blocks(const StoredTensor& tensor,
                 const std::function<void(std::span<const std::byte>)>& use);

// `box` of the tensor, converted to `type`: bit for bit what slicing the converted whole gives.
//
// A box that lies together and aligned in the file and is stored in `type` reads the mapped file in
// place (no copy, read-only). Any other is read into memory of its own; beside that a conversion
// takes a buffer of a few MiB, and no more than the box is read.
// REQUIRES: the tensor has one dim or two, and the box lies inside. Throws: IoError.
Tensor load_box(const StoredTensor& tensor, const TensorBox& box, at::ScalarType type);

}  // namespace molora
