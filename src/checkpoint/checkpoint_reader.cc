#include "checkpoint/checkpoint_reader.h"

#include <algorithm>
#include <map>
#include <memory>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>

#include "base/error.h"
#include "base/nearest_name.h"
#include "checkpoint/step_folder.h"
#include "io/digest.h"
#include "io/file.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

[[noreturn]] void fail(const std::filesystem::path& folder, const std::string& what) {
  throw CheckpointError(fmt::format("{}: {}", folder.string(), what));
}

Shape shape_of(const google::protobuf::RepeatedField<int64_t>& dims) {
  return {dims.begin(), dims.end()};
}

// One slice of a checkpoint, with the file that holds it.
struct StoredSlice {
  const TensorRecord* record;
  std::shared_ptr<const SafetensorsFile> file;
};
using StoredTensors = std::map<std::string, std::vector<StoredSlice>>;

bool is_in_scope(const std::string& name, LoadScope scope) {
  return scope == LoadScope::kAll || name.starts_with("adapter/");
}

StoredTensors open_tensors(const std::filesystem::path& folder, const CheckpointManifest& manifest,
                           LoadScope scope) {
  std::map<std::string, std::shared_ptr<const SafetensorsFile>> files;
  StoredTensors tensors;
  for (const TensorRecord& record : manifest.tensors()) {
    if (!is_in_scope(record.name(), scope)) continue;
    auto& file = files[record.file()];
    if (file == nullptr) file = std::make_shared<const SafetensorsFile>(folder / record.file());
    const TensorEntry& entry = file->at(record.name());
    if (entry.shape != shape_of(record.shape()) || dtype_name(entry.dtype) != record.dtype()) {
      fail(folder, fmt::format("tensor {}: the manifest says {} {}, file {} holds {} {}",
                               record.name(), record.dtype(), shape_text(shape_of(record.shape())),
                               record.file(), dtype_name(entry.dtype), shape_text(entry.shape)));
    }
    tensors[record.name()].push_back({&record, file});
  }
  return tensors;
}

// Copies the overlap of a stored slice with a wanted one; returns how many elements that were.
int64_t copy_overlap(const StoredSlice& stored, const TensorSlice& wanted) {
  Tensor from = mapped_tensor(stored.file, stored.file->at(stored.record->name()));
  Tensor to = wanted.value;
  for (int64_t d = 0; d < to.dim(); ++d) {
    const auto dim = static_cast<size_t>(d);
    const int64_t stored_begin = stored.record->offset(static_cast<int>(d));
    const int64_t begin = std::max(stored_begin, wanted.offset[dim]);
    const int64_t end = std::min(stored_begin + from.size(d), wanted.offset[dim] + to.size(d));
    if (begin >= end) return 0;
    from = from.slice(d, begin - stored_begin, end - stored_begin);
    to = to.slice(d, begin - wanted.offset[dim], end - wanted.offset[dim]);
  }
  to.copy_(from);
  return to.numel();
}

void check_tensor(const std::filesystem::path& folder, const StoredTensors& stored,
                  const TensorSlice& wanted) {
  const auto found = stored.find(wanted.name);
  if (found == stored.end()) {
    std::vector<std::string> names;
    for (const auto& [name, slices] : stored) names.push_back(name);
    const std::string nearest = nearest_name(wanted.name, names);
    fail(folder,
         fmt::format("tensor {} is missing{}; the adapter's configuration is not the one that "
                     "was saved",
                     wanted.name, nearest.empty() ? "" : " (nearest: " + nearest + ")"));
  }
  int64_t covered = 0;
  for (const StoredSlice& slice : found->second) {
    const TensorRecord& record = *slice.record;
    const auto dtype = dtype_name(stored_dtype(wanted.type));
    if (shape_of(record.global_shape()) != wanted.global_shape || record.dtype() != dtype) {
      fail(folder, fmt::format("tensor {} is {} {}, this run has {} {}", wanted.name,
                               record.dtype(), shape_text(shape_of(record.global_shape())), dtype,
                               shape_text(wanted.global_shape)));
    }
    if (record.offset_size() != record.shape_size() ||
        record.shape_size() != record.global_shape_size()) {
      fail(folder, fmt::format("tensor {}: its slice has no clear place", wanted.name));
    }
    covered += shape_elements(shape_of(record.shape()));
  }
  // Slices of a checkpoint are disjoint by construction; fewer or more elements are gaps or
  // overlaps.
  if (covered != shape_elements(wanted.global_shape)) {
    fail(folder, fmt::format("tensor {}: its slices hold {} of {} elements", wanted.name, covered,
                             shape_elements(wanted.global_shape)));
  }
}

void check_nothing_left_over(const std::filesystem::path& folder, const StoredTensors& stored,
                             const std::vector<const TensorSlice*>& wanted) {
  std::map<std::string, bool> has_place;
  for (const TensorSlice* slice : wanted) has_place[slice->name] = true;
  for (const auto& [name, slices] : stored) {
    if (has_place.count(name) == 0) {
      fail(folder, fmt::format("tensor {} has no place in this run; the adapter's configuration is "
                               "not the one that was saved",
                               name));
    }
  }
}

}  // namespace

CheckpointManifest read_manifest(const std::filesystem::path& step_folder) {
  return read_manifest(local_files(), step_folder);
}

std::string find_damage(const std::filesystem::path& step_folder) {
  try {
    const CheckpointManifest manifest = read_manifest(step_folder);
    if (manifest.files_size() == 0) return step_folder.string() + ": the manifest names no file";
    for (const FileRecord& record : manifest.files()) {
      const MappedFile file(step_folder / record.name());
      if (file.bytes().size() != record.bytes()) {
        return fmt::format("{}: has {} bytes, the manifest says {}", file.path().string(),
                           file.bytes().size(), record.bytes());
      }
      Sha256 digest;
      digest.update(file.bytes());
      if (digest.hex() != record.sha256()) {
        return fmt::format("{}: its SHA-256 is not the one in the manifest", file.path().string());
      }
    }
    return {};
  } catch (const std::exception& error) {
    return error.what();
  }
}

void load_checkpoint(const std::filesystem::path& step_folder, LoadScope scope,
                     TrainingState& state) {
  const CheckpointManifest manifest = read_manifest(step_folder);
  const StoredTensors stored = open_tensors(step_folder, manifest, scope);
  std::vector<const TensorSlice*> wanted;
  for (const TensorSlice& slice : state.adapter) wanted.push_back(&slice);
  if (scope == LoadScope::kAll) {
    for (const TensorSlice& slice : state.optimizer) wanted.push_back(&slice);
  }
  for (const TensorSlice* slice : wanted) check_tensor(step_folder, stored, *slice);
  check_nothing_left_over(step_folder, stored, wanted);

  const at::NoGradGuard no_grad;
  for (const TensorSlice* slice : wanted) {
    if (!slice->value.defined()) continue;
    int64_t copied = 0;
    for (const StoredSlice& part : stored.at(slice->name)) copied += copy_overlap(part, *slice);
    if (copied != slice->value.numel()) {
      fail(step_folder,
           fmt::format("tensor {}: only {} of {} elements of this rank's slice are there",
                       slice->name, copied, slice->value.numel()));
    }
  }
  if (scope == LoadScope::kAll) state.progress = manifest.progress();
}

}  // namespace molora
