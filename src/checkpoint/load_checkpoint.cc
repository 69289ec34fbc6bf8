#include "checkpoint/load_checkpoint.h"

#include <set>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/nearest_name.h"
#include "checkpoint/manifest.h"
#include "checkpoint/saved_tensors.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

constexpr char kOtherConfiguration[] = "the adapter's configuration is not the one that was saved";

[[noreturn]] void fail(const std::filesystem::path& folder, const std::string& what) {
  throw CheckpointError(fmt::format("{}: {}", folder.string(), what));
}

std::vector<std::string> names_in_scope(const SavedTensors& stored, LoadScope scope) {
  std::vector<std::string> names;
  for (const std::string& name : stored.names()) {
    if (scope == LoadScope::kAll || name.starts_with("adapter/")) names.push_back(name);
  }
  return names;
}

void check_tensor(const std::filesystem::path& folder, const SavedTensors& stored,
                  const std::vector<std::string>& names, const TensorSlice& wanted) {
  const SavedTensor* found = stored.find(wanted.name);
  if (found == nullptr) {
    const std::string nearest = nearest_name(wanted.name, names);
    fail(folder,
         fmt::format("tensor {} is missing{}; {}", wanted.name,
                     nearest.empty() ? "" : " (nearest: " + nearest + ")", kOtherConfiguration));
  }
  const DType dtype = stored_dtype(wanted.type);
  if (found->dtype == dtype && found->global_shape == wanted.global_shape) return;
  fail(folder, fmt::format("tensor {} is {} {}, this run has {} {}", wanted.name,
                           dtype_name(found->dtype), shape_text(found->global_shape),
                           dtype_name(dtype), shape_text(wanted.global_shape)));
}

void check_fit(const std::filesystem::path& folder, const SavedTensors& stored,
               const std::vector<std::string>& names,
               const std::vector<const TensorSlice*>& wanted) {
  std::set<std::string> have_place;
  for (const TensorSlice* slice : wanted) {
    check_tensor(folder, stored, names, *slice);
    have_place.insert(slice->name);
  }
  for (const std::string& name : names) {
    if (have_place.count(name) > 0) continue;
    fail(folder, fmt::format("tensor {} has no place in this run; {}", name, kOtherConfiguration));
  }
}

}  // namespace

void load_checkpoint(FileSystem& files, const std::filesystem::path& step_folder, LoadScope scope,
                     TrainingState& state) {
  const CheckpointManifest manifest = read_manifest(files, step_folder);
  SavedTensors stored(files, step_folder, manifest);
  std::vector<const TensorSlice*> wanted;
  for (const TensorSlice& slice : state.adapter) wanted.push_back(&slice);
  if (scope == LoadScope::kAll) {
    for (const TensorSlice& slice : state.optimizer) wanted.push_back(&slice);
  }
  check_fit(step_folder, stored, names_in_scope(stored, scope), wanted);
  for (const TensorSlice* slice : wanted) {
    if (slice->value.defined()) stored.read_into(slice->name, slice->offset, slice->value);
  }
  if (scope == LoadScope::kAll) state.progress = manifest.progress();
}

}  // namespace molora
