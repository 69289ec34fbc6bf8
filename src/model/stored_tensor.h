// One tensor of a model's files: read in blocks, or a box of it loaded in the type asked for.
#pragma once

#include <cstddef>
#include <cstdint>
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

// What is read through, made once for many tensors: small memory taken and given back between large
// results would leave holes that count like results. It stays in a core's own cache.
class ReadBuffer {
 public:
  static constexpr int64_t kBytes = int64_t{256} << 10;

  ReadBuffer() : bytes_(at::empty({kBytes}, at::kByte)) {}
  // Its first elements as those of `type`. REQUIRES: they fit.
  Tensor elements(int64_t count, at::ScalarType type) const;

 private:
  Tensor bytes_;
};

// Calls `work` for 0 .. count - 1 on LibTorch's threads, each with a buffer of its own; neighbours
// go to different threads. Throws: what a call has thrown, after all threads have ended.
void for_each_on_threads(size_t count,
                         const std::function<void(size_t, const ReadBuffer& buffer)>& work);

// Throws: DataError "file: tensor name: what".
[[noreturn]] void throw_data_error(const StoredTensor& tensor, const std::string& what);

// The stored bytes front to back, in blocks of whole elements that are valid during the call. They
// are read into `buffer`, not mapped: nothing else of them stays in memory.
// Throws: IoError, and what `use` throws.
void read_blocks(const StoredTensor& tensor, const ReadBuffer& buffer,
                 const std::function<void(std::span<const std::byte>)>& use);

// The rows of `box`, some at a time: use(first, rows) with rows of the box from its row `first` on,
// [rows, columns of the box] as stored, valid during the call. No more than the box is read.
// REQUIRES: the tensor has two dims, the box lies inside, and one row of it fits `buffer`.
// Throws: IoError, and what `use` throws.
void read_rows(const StoredTensor& tensor, const TensorBox& box, const ReadBuffer& buffer,
               const std::function<void(int64_t first, const Tensor& rows)>& use);

// `box` of the tensor, converted to `type`: bit for bit what slicing the converted whole gives.
//
// A box that lies together and aligned in the file and is stored in `type` reads the mapped file in
// place (no copy, read-only). Any other is read into memory of its own, through `buffer` where it
// is converted; no more than the box is read. REQUIRES: the tensor has one dim or two, and the box
// lies inside. Throws: IoError.
Tensor load_box(const StoredTensor& tensor, const TensorBox& box, at::ScalarType type,
                const ReadBuffer& buffer);

}  // namespace molora
