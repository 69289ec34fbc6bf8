#include "model/stored_tensor.h"

#include <algorithm>
#include <cstdint>

#include <ATen/Parallel.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

// A box as equal pieces, each of which lies together in the file: parts of rows, or one piece when
// the rows are whole. All numbers count elements of the tensor.
struct Pieces {
  int64_t first = 0;  // where the first piece begins
  int64_t stride = 0;
  int64_t count = 0;
  int64_t length = 0;
};

Pieces pieces_of(const Shape& whole, const TensorBox& box) {
  const size_t dims = whole.size();
  MOLORA_CHECK((dims == 1 || dims == 2) && box.offset.size() == dims && box.shape.size() == dims,
               "box of {} from {} in {}", shape_text(box.shape), shape_text(box.offset),
               shape_text(whole));
  for (size_t dim = 0; dim < dims; ++dim) {
    const int64_t begin = box.offset[dim];
    MOLORA_CHECK(begin >= 0 && box.shape[dim] >= 0 && box.shape[dim] <= whole[dim] - begin,
                 "dim {}: {} from {} in {}", dim, box.shape[dim], begin, whole[dim]);
  }
  const int64_t width = whole.back();
  const int64_t columns = box.shape.back();
  const int64_t rows = dims == 2 ? box.shape[0] : 1;
  const int64_t first = (dims == 2 ? box.offset[0] * width : 0) + box.offset.back();
  if (rows == 1 || columns == width) return {first, 0, 1, rows * columns};
  return {first, width, rows, columns};
}

// Elements of the box in its own order, from element `begin` on, as stored.
void read_elements(const StoredTensor& tensor, const Pieces& pieces, int64_t begin,
                   std::span<std::byte> into) {
  const size_t width = dtype_bytes(tensor.entry.dtype);
  while (!into.empty()) {
    const int64_t piece = begin / pieces.length;
    const int64_t within = begin % pieces.length;
    const int64_t count =
        std::min(pieces.length - within, static_cast<int64_t>(into.size() / width));
    const int64_t place = pieces.first + piece * pieces.stride + within;
    const size_t bytes = static_cast<size_t>(count) * width;
    tensor.file->read(tensor.entry, static_cast<uint64_t>(place) * width, into.first(bytes));
    into = into.subspan(bytes);
    begin += count;
  }
}

void read_converted(const StoredTensor& tensor, const Pieces& pieces, const ReadBuffer& buffer,
                    const Tensor& result) {
  const auto block = ReadBuffer::kBytes / static_cast<int64_t>(dtype_bytes(tensor.entry.dtype));
  const int64_t total = result.numel();
  const Tensor flat = result.view({total});
  for (int64_t begin = 0; begin < total; begin += block) {
    const int64_t count = std::min(block, total - begin);
    Tensor stored = buffer.elements(count, scalar_type(tensor.entry.dtype));
    read_elements(tensor, pieces, begin, mutable_tensor_bytes(stored));
    flat.slice(0, begin, begin + count).copy_(stored);
  }
}

}  // namespace

void for_each_on_threads(size_t count,
                         const std::function<void(size_t, const ReadBuffer& buffer)>& work) {
  const auto lanes = std::min(static_cast<int64_t>(count), int64_t{at::get_num_threads()});
  at::parallel_for(0, lanes, 1, [&](int64_t begin, int64_t end) {
    const ReadBuffer buffer;
    for (int64_t lane = begin; lane < end; ++lane) {
      for (auto i = static_cast<size_t>(lane); i < count; i += static_cast<size_t>(lanes)) {
        work(i, buffer);
      }
    }
  });
}

void throw_data_error(const StoredTensor& tensor, const std::string& what) {
  throw DataError(
      fmt::format("{}: tensor {}: {}", tensor.file->path().string(), tensor.entry.name, what));
}

Tensor ReadBuffer::elements(int64_t count, at::ScalarType type) const {
  const auto bytes = count * static_cast<int64_t>(at::elementSize(type));
  MOLORA_CHECK(bytes <= kBytes, "{} bytes", bytes);
  return bytes_.slice(0, 0, bytes).view(type);
}

void read_blocks(const StoredTensor& tensor, const ReadBuffer& buffer,
                 const std::function<void(std::span<const std::byte>)>& use) {
  const auto total = static_cast<int64_t>(tensor.entry.bytes);
  for (int64_t begin = 0; begin < total; begin += ReadBuffer::kBytes) {
    Tensor bytes = buffer.elements(std::min(ReadBuffer::kBytes, total - begin), at::kByte);
    const std::span<std::byte> block = mutable_tensor_bytes(bytes);
    tensor.file->read(tensor.entry, static_cast<uint64_t>(begin), block);
    use(block);
  }
}

void read_rows(const StoredTensor& tensor, const TensorBox& box, const ReadBuffer& buffer,
               const std::function<void(int64_t first, const Tensor& rows)>& use) {
  const TensorEntry& entry = tensor.entry;
  const Pieces pieces = pieces_of(entry.shape, box);
  MOLORA_CHECK_EQ(box.shape.size(), 2U, "dims of {}", entry.name);
  const int64_t columns = box.shape[1];
  const auto row_bytes = columns * static_cast<int64_t>(dtype_bytes(entry.dtype));
  MOLORA_CHECK(row_bytes <= ReadBuffer::kBytes, "a row of {} bytes", row_bytes);
  const int64_t at_once = ReadBuffer::kBytes / std::max<int64_t>(1, row_bytes);
  for (int64_t first = 0; first < box.shape[0]; first += at_once) {
    const int64_t count = std::min(at_once, box.shape[0] - first);
    Tensor rows = buffer.elements(count * columns, scalar_type(entry.dtype));
    read_elements(tensor, pieces, first * columns, mutable_tensor_bytes(rows));
    use(first, rows.view({count, columns}));
  }
}

Tensor load_box(const StoredTensor& tensor, const TensorBox& box, at::ScalarType type,
                const ReadBuffer& buffer) {
  const TensorEntry& entry = tensor.entry;
  const Pieces pieces = pieces_of(entry.shape, box);
  const size_t width = dtype_bytes(entry.dtype);
  const bool is_same_type = scalar_type(entry.dtype) == type;
  if (is_same_type && pieces.count == 1 && entry.offset % width == 0) {
    const uint64_t begin = static_cast<uint64_t>(pieces.first) * width;
    const uint64_t bytes = static_cast<uint64_t>(pieces.length) * width;
    return mapped_tensor(tensor.file,
                         {entry.name, entry.dtype, box.shape, entry.offset + begin, bytes});
  }
  Tensor result = at::empty(box.shape, type);
  if (is_same_type) {
    read_elements(tensor, pieces, 0, mutable_tensor_bytes(result));
  } else {
    read_converted(tensor, pieces, buffer, result);
  }
  return result;
}

}  // namespace molora
