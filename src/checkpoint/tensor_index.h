// Which tensors a checkpoint holds, in which slices, and where the bytes of each lie: the part of a
// manifest that is about tensors, checked and put in order.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint.pb.h"
#include "checkpoint/damage.h"
#include "io/dtype.h"
#include "io/safetensors.h"

namespace molora {

// A box of a global tensor, stored row-major in one file.
struct SavedSlice {
  std::string file;  // within the step folder
  Shape offset;      // of its first element in the global tensor
  Shape shape;
  uint64_t begin = 0;  // its bytes in the file are [begin, end)
  uint64_t end = 0;
  std::optional<uint32_t> crc32c;  // of these bytes; nothing in format 1
};

struct SavedTensor {
  std::string name;
  DType dtype = DType::kF32;
  Shape global_shape;
  std::vector<SavedSlice> slices;

  int64_t elements() const { return shape_elements(global_shape); }
  uint64_t bytes() const { return static_cast<uint64_t>(elements()) * dtype_bytes(dtype); }
};

struct TensorIndex {
  std::map<std::string, SavedTensor> tensors;
  // What is wrong with the manifest's records: sizes that do not fit each other, files that it does
  // not name, slices that overlap or leave a gap. A record with such a fault is not in `tensors`.
  std::vector<Damage> faults;
};

// Of format 1, whose manifests do not tell places in files, slices have no bytes yet (0 to 0).
TensorIndex index_tensors(const CheckpointManifest& manifest);

// "" when the slices hold every element of the tensor exactly once, else what is wrong.
std::string tiling_fault(const SavedTensor& tensor);

}  // namespace molora
