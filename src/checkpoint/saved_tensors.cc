#include "checkpoint/saved_tensors.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "checkpoint/part_header.h"
#include "io/digest.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

// What a stored slice and a wanted box have in common.
struct Overlap {
  Shape in_slice;   // where it begins in the slice
  Shape in_wanted;  // and in the wanted box
  Shape shape;
};

std::optional<Overlap> overlap_of(const SavedSlice& slice, const Shape& offset,
                                  at::IntArrayRef sizes) {
  Overlap overlap;
  for (size_t d = 0; d < sizes.size(); ++d) {
    const int64_t begin = std::max(slice.offset[d], offset[d]);
    const int64_t end = std::min(slice.offset[d] + slice.shape[d], offset[d] + sizes[d]);
    if (begin >= end) return std::nullopt;
    overlap.in_slice.push_back(begin - slice.offset[d]);
    overlap.in_wanted.push_back(begin - offset[d]);
    overlap.shape.push_back(end - begin);
  }
  return overlap;
}

Tensor box_of(Tensor tensor, const Shape& offset, const Shape& shape) {
  for (size_t d = 0; d < shape.size(); ++d) {
    tensor = tensor.narrow(static_cast<int64_t>(d), offset[d], shape[d]);
  }
  return tensor;
}

Shape row_major_strides(const Shape& shape) {
  Shape strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * shape[d];
  return strides;
}

// The elements of a slice from the first to the last one of the overlap, as stored.
struct Run {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t length() const { return end - begin; }
};

Run run_of(const Overlap& overlap, const Shape& strides) {
  Run run{0, 1};
  for (size_t d = 0; d < strides.size(); ++d) {
    run.begin += overlap.in_slice[d] * strides[d];
    run.end += (overlap.in_slice[d] + overlap.shape[d] - 1) * strides[d];
  }
  return run;
}

void check_box(const SavedTensor& tensor, const Shape& offset, const Tensor& destination) {
  MOLORA_CHECK(destination.scalar_type() == scalar_type(tensor.dtype), "{} is {}, wanted {}",
               tensor.name, dtype_name(tensor.dtype), at::toString(destination.scalar_type()));
  MOLORA_CHECK_EQ(offset.size(), tensor.global_shape.size(), "dimensions of {}", tensor.name);
  MOLORA_CHECK_EQ(destination.dim(), tensor.global_shape.size(), "dimensions of {}", tensor.name);
  for (size_t d = 0; d < offset.size(); ++d) {
    const int64_t end = offset[d] + destination.size(static_cast<int64_t>(d));
    MOLORA_CHECK(offset[d] >= 0 && end <= tensor.global_shape[d], "{}: {} to {} of dimension {} {}",
                 tensor.name, offset[d], end, d, shape_text(tensor.global_shape));
  }
}

using Entries = std::map<std::string, TensorEntry>;  // by tensor

Entries entries_of(const ReadableFile& file, const std::string& origin) {
  Entries entries;
  const PartHeader header = read_part_header(file, file.size(), origin);
  for (const TensorEntry& entry : header.content.entries) {
    entries.emplace(entry.name, entry);
  }
  return entries;
}

// Gives the slice its bytes, or returns why its file's entries do not fit.
std::string place_fault(const SavedTensor& tensor, const Entries& entries, SavedSlice& slice) {
  const auto found = entries.find(tensor.name);
  if (found == entries.end()) return "is not in the file, but the manifest says so";
  const TensorEntry& entry = found->second;
  if (entry.dtype != tensor.dtype || entry.shape != slice.shape) {
    return fmt::format("the manifest says {} {}, the file holds {} {}", dtype_name(tensor.dtype),
                       shape_text(slice.shape), dtype_name(entry.dtype), shape_text(entry.shape));
  }
  slice.begin = entry.offset;
  slice.end = entry.offset + entry.bytes;
  return {};
}

}  // namespace

SavedTensors::SavedTensors(FileSystem& files, const std::filesystem::path& step_folder,
                           const CheckpointManifest& manifest)
    : step_folder_(step_folder), open_(files, step_folder) {
  TensorIndex index = index_tensors(manifest);
  if (!index.faults.empty()) {
    throw CheckpointError(damage_text(step_folder_, index.faults.front()));
  }
  tensors_ = std::move(index.tensors);
  if (manifest.format_version() == 1) find_places();
}

// Takes the place of every slice from the headers of the files.
void SavedTensors::find_places() {
  std::map<std::string, Entries> entries;  // by file
  for (auto& [name, tensor] : tensors_) {
    for (SavedSlice& slice : tensor.slices) {
      const auto [in_file, is_new] = entries.try_emplace(slice.file);
      try {
        const std::string origin = (step_folder_ / slice.file).string();
        if (is_new) in_file->second = entries_of(open_.at(slice.file), origin);
      } catch (const Error& error) {
        throw CheckpointError(error.what());
      }
      const std::string fault = place_fault(tensor, in_file->second, slice);
      if (!fault.empty()) {
        throw CheckpointError(damage_text(step_folder_, {slice.file, name, 0, 0, fault}));
      }
    }
  }
}

std::vector<std::string> SavedTensors::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_) names.push_back(name);
  return names;
}

const SavedTensor* SavedTensors::find(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const SavedTensor& SavedTensors::at(const std::string& name) const {
  if (const SavedTensor* tensor = find(name)) return *tensor;
  const std::string nearest = nearest_name(name, names());
  throw CheckpointError(fmt::format("{}: there is no tensor {}{}", step_folder_.string(), name,
                                    nearest.empty() ? "" : "; nearest: " + nearest));
}

Tensor SavedTensors::whole(const std::string& name) {
  const SavedTensor& tensor = at(name);
  Tensor value = at::empty(tensor.global_shape, scalar_type(tensor.dtype));
  read_into(name, Shape(tensor.global_shape.size(), 0), value);
  return value;
}

void SavedTensors::read_into(const std::string& name, const Shape& offset,
                             const Tensor& destination) {
  const SavedTensor& tensor = at(name);
  check_box(tensor, offset, destination);
  const at::NoGradGuard no_grad;
  int64_t filled = 0;
  for (const SavedSlice& slice : tensor.slices) {
    const auto overlap = overlap_of(slice, offset, destination.sizes());
    if (!overlap) continue;
    const Shape strides = row_major_strides(slice.shape);
    const Run run = run_of(*overlap, strides);
    const Tensor place = box_of(destination, overlap->in_wanted, overlap->shape);
    filled += place.numel();

    SavedSlice part = slice;
    const uint64_t element = dtype_bytes(tensor.dtype);
    part.begin = slice.begin + static_cast<uint64_t>(run.begin) * element;
    part.end = slice.begin + static_cast<uint64_t>(run.end) * element;
    if (part.begin != slice.begin || part.end != slice.end) part.crc32c.reset();
    if (place.is_cpu() && place.is_contiguous() && place.numel() == run.length()) {
      read_bytes(tensor, part, place);
    } else {
      const Tensor buffer = at::empty({run.length()}, scalar_type(tensor.dtype));
      read_bytes(tensor, part, buffer);
      place.copy_(buffer.as_strided(overlap->shape, strides));
    }
  }
  MOLORA_CHECK_EQ(filled, destination.numel(), "elements of {}", name);
}

// Reads the bytes of `part`, a slice or the part of one, and compares them with its CRC-32C when it
// has one.
void SavedTensors::read_bytes(const SavedTensor& tensor, const SavedSlice& part,
                              const Tensor& buffer) {
  const auto fail = [&](const std::string& what) {
    throw CheckpointError(
        damage_text(step_folder_, {part.file, tensor.name, part.begin, part.end, what}));
  };
  Tensor memory = buffer;
  const std::span<std::byte> bytes = mutable_tensor_bytes(memory);
  try {
    open_.at(part.file).read_at(part.begin, bytes);
  } catch (const IoError& error) {
    fail(fmt::format("cannot be read: {}", error.what()));
  }
  if (!part.crc32c) return;
  Crc32c crc;
  crc.update(bytes);
  if (crc.value() != *part.crc32c) {
    fail(fmt::format("CRC-32C is {:08x}, the manifest says {:08x}: the file is damaged",
                     crc.value(), *part.crc32c));
  }
}

}  // namespace molora
