#include "checkpoint/tensor_index.h"

#include <algorithm>

#include <fmt/format.h>

#include "checkpoint/step_folder.h"

namespace molora {

namespace {

// Far above every tensor, far below what could overflow in sums and products of sizes.
constexpr int64_t kMostElements = int64_t{1} << 50;
constexpr int kMostDims = 16;

using Dims = google::protobuf::RepeatedField<int64_t>;

Shape shape_of(const Dims& dims) { return {dims.begin(), dims.end()}; }

// Whether the sizes are those of a tensor, at most kMostElements large.
bool is_tensor_shape(const Dims& dims) {
  if (dims.size() > kMostDims) return false;
  int64_t elements = 1;
  for (const int64_t dim : dims) {
    if (dim < 0 || (dim > 0 && elements > kMostElements / dim)) return false;
    elements *= dim;
  }
  return true;
}

bool is_box_in(const Dims& offset, const Dims& shape, const Dims& global_shape) {
  if (offset.size() != global_shape.size() || shape.size() != global_shape.size()) return false;
  for (int d = 0; d < shape.size(); ++d) {
    if (offset[d] < 0 || offset[d] > global_shape[d] || shape[d] > global_shape[d] - offset[d]) {
      return false;
    }
  }
  return true;
}

std::string record_text(const TensorRecord& record) {
  return fmt::format("{} {} of {} at {}", record.dtype(), shape_text(shape_of(record.shape())),
                     shape_text(shape_of(record.global_shape())),
                     shape_text(shape_of(record.offset())));
}

class Indexer {
 public:
  explicit Indexer(const CheckpointManifest& manifest)
      : has_places_(manifest.format_version() >= 2) {
    for (const FileRecord& file : manifest.files()) file_bytes_[file.name()] = file.bytes();
    for (const TensorRecord& record : manifest.tensors()) {
      const std::string fault = add(record);
      if (!fault.empty()) report(record.name(), fault);
    }
    for (const auto& [name, tensor] : index_.tensors) {
      if (faulty_.count(name) > 0) continue;  // then of course something is missing
      const std::string fault = tiling_fault(tensor);
      if (!fault.empty()) report(name, fault);
    }
  }

  TensorIndex take() { return std::move(index_); }

 private:
  void report(const std::string& tensor, const std::string& what) {
    index_.faults.push_back({kManifestName, tensor, 0, 0, what});
    faulty_[tensor] = true;
  }

  // Returns "" or why the record cannot be used.
  std::string add(const TensorRecord& record) {
    const auto dtype = dtype_from_name(record.dtype());
    if (!dtype || !is_tensor_shape(record.global_shape()) || !is_tensor_shape(record.shape()) ||
        !is_box_in(record.offset(), record.shape(), record.global_shape())) {
      return fmt::format("its slice in {} has no clear place: {}", record.file(),
                         record_text(record));
    }
    SavedSlice slice{record.file(), shape_of(record.offset()), shape_of(record.shape())};
    std::string fault = find_place(record, dtype_bytes(*dtype), slice);
    if (!fault.empty()) return fault;
    const auto [found, is_new] = index_.tensors.try_emplace(
        record.name(), SavedTensor{record.name(), *dtype, shape_of(record.global_shape()), {}});
    SavedTensor& tensor = found->second;
    if (tensor.dtype != *dtype || tensor.global_shape != shape_of(record.global_shape())) {
      return fmt::format("its slice in {} is {}, that in {} belongs to {} {}", record.file(),
                         record_text(record), tensor.slices.front().file, dtype_name(tensor.dtype),
                         shape_text(tensor.global_shape));
    }
    tensor.slices.push_back(std::move(slice));
    return {};
  }

  std::string find_place(const TensorRecord& record, size_t element_bytes, SavedSlice& slice) {
    const auto file = file_bytes_.find(record.file());
    if (file == file_bytes_.end()) {
      return fmt::format("lies in '{}', which is not among the manifest's files", record.file());
    }
    if (!has_places_) return {};
    const uint64_t bytes = static_cast<uint64_t>(shape_elements(slice.shape)) * element_bytes;
    if (!record.has_crc32c() || !record.has_file_offset() || record.bytes() != bytes) {
      return fmt::format("its record says {} bytes for {}, which are {}{}", record.bytes(),
                         record_text(record), bytes,
                         record.has_crc32c() && record.has_file_offset()
                             ? ""
                             : ", and lacks a place or a CRC-32C");
    }
    if (record.file_offset() > file->second || bytes > file->second - record.file_offset()) {
      return fmt::format("is said to have {} bytes from byte {} of {} on, which has {}", bytes,
                         record.file_offset(), record.file(), file->second);
    }
    slice.begin = record.file_offset();
    slice.end = slice.begin + bytes;
    slice.crc32c = record.crc32c();
    return {};
  }

  bool has_places_;
  std::map<std::string, uint64_t> file_bytes_;
  std::map<std::string, bool> faulty_;
  TensorIndex index_;
};

bool do_overlap(const SavedSlice& a, const SavedSlice& b) {
  for (size_t d = 0; d < a.shape.size(); ++d) {
    if (std::max(a.offset[d], b.offset[d]) >=
        std::min(a.offset[d] + a.shape[d], b.offset[d] + b.shape[d])) {
      return false;
    }
  }
  return true;
}

// Two slices that have an element in common; {nullptr, nullptr} when there are none.
std::pair<const SavedSlice*, const SavedSlice*> overlapping(const SavedTensor& tensor) {
  std::vector<const SavedSlice*> sorted;
  for (const SavedSlice& slice : tensor.slices) sorted.push_back(&slice);
  std::stable_sort(sorted.begin(), sorted.end(),
                   [](const SavedSlice* a, const SavedSlice* b) { return a->offset < b->offset; });
  for (size_t i = 0; i < sorted.size(); ++i) {
    for (size_t j = i + 1; j < sorted.size(); ++j) {
      const SavedSlice& a = *sorted[i];
      const SavedSlice& b = *sorted[j];
      if (!a.shape.empty() && b.offset[0] >= a.offset[0] + a.shape[0]) break;
      if (do_overlap(a, b)) return {&a, &b};
    }
  }
  return {nullptr, nullptr};
}

}  // namespace

TensorIndex index_tensors(const CheckpointManifest& manifest) { return Indexer(manifest).take(); }

std::string tiling_fault(const SavedTensor& tensor) {
  const auto [a, b] = overlapping(tensor);
  if (a != nullptr) {
    return fmt::format("its slices overlap: {} at {} in {} and {} at {} in {}",
                       shape_text(a->shape), shape_text(a->offset), a->file, shape_text(b->shape),
                       shape_text(b->offset), b->file);
  }
  int64_t held = 0;
  for (const SavedSlice& slice : tensor.slices) held += shape_elements(slice.shape);
  if (held == tensor.elements()) return {};
  return fmt::format("its slices leave a gap: they hold {} of {} elements of {}", held,
                     tensor.elements(), shape_text(tensor.global_shape));
}

}  // namespace molora
