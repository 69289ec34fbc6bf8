#include "checkpoint/checkpoint_writer.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/gather_state.h"
#include "checkpoint/step_folder.h"
#include "io/digest.h"
#include "io/file.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

void write_tensors(const std::filesystem::path& folder, const std::string& file_name,
                   const std::vector<TensorSlice>& slices, CheckpointManifest& manifest) {
  std::vector<SafetensorsWriter::Declaration> declarations;
  for (const TensorSlice& slice : slices) {
    const DType dtype = stored_dtype(slice.value.scalar_type());
    const Shape shape = slice.value.sizes().vec();
    declarations.push_back({slice.name, dtype, shape});
    TensorRecord& record = *manifest.add_tensors();
    record.set_name(slice.name);
    record.set_dtype(std::string(dtype_name(dtype)));
    record.set_file(file_name);
    for (const int64_t dim : slice.global_shape) record.add_global_shape(dim);
    for (const int64_t dim : slice.offset) record.add_offset(dim);
    for (const int64_t dim : shape) record.add_shape(dim);
  }
  SafetensorsWriter writer(folder / file_name, declarations, {{"format", "pt"}});
  for (const TensorSlice& slice : slices) writer.write_next(tensor_bytes(slice.value.contiguous()));
  writer.finish();

  const MappedFile written(folder / file_name);
  FileRecord& file = *manifest.add_files();
  file.set_name(file_name);
  file.set_bytes(written.bytes().size());
  Sha256 digest;
  digest.update(written.bytes());
  file.set_sha256(digest.hex());
}

void rename_folder(const std::filesystem::path& from, const std::filesystem::path& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    throw IoError(fmt::format("{}: cannot rename to {}: {}", from.string(), to.string(),
                              std::strerror(errno)));
  }
}

// The committed folder of this step may be there already: a run that resumes from it saves it again
// at its end. A valid one is as good as the new one, because the same step has the same bits.
bool is_already_committed(const std::filesystem::path& folder) {
  if (!std::filesystem::exists(folder)) return false;
  const std::string damage = find_damage(folder);
  if (damage.empty()) return true;
  spdlog::warn("{} is damaged and will be replaced: {}", folder.string(), damage);
  std::filesystem::remove_all(folder);
  return false;
}

void write_step(const std::filesystem::path& root, const TrainingState& state,
                const CheckpointIdentity& identity, int world_size) {
  const int64_t step = state.progress.step();
  const std::filesystem::path final_folder = root / step_folder_name(step);
  make_folders(root);
  if (is_already_committed(final_folder)) return;

  const std::filesystem::path attempt = root / attempt_folder_name(step, ::getpid());
  std::filesystem::remove_all(attempt);
  make_folders(attempt);
  CheckpointManifest manifest;
  manifest.set_format_version(kCheckpointFormatVersion);
  *manifest.mutable_progress() = state.progress;
  *manifest.mutable_config() = identity.config;
  manifest.set_base_fingerprint(identity.base_fingerprint);
  manifest.set_data_fingerprint(identity.data_fingerprint);
  manifest.set_world_size(world_size);
  write_tensors(attempt, part_file_name("adapter", 0), state.adapter, manifest);
  write_tensors(attempt, part_file_name("optimizer", 0), state.optimizer, manifest);
  write_file_atomic(attempt / kManifestName, manifest_bytes(manifest));
  sync_folder(attempt);
  rename_folder(attempt, final_folder);
  sync_folder(root);
}

}  // namespace

std::filesystem::path write_checkpoint(Communicator& communicator,
                                       const std::filesystem::path& root,
                                       const TrainingState& state,
                                       const CheckpointIdentity& identity) {
  std::string failure;
  const TrainingState whole = gather_on_rank_zero(communicator, state);
  if (communicator.rank() == 0) {
    try {
      write_step(root, whole, identity, communicator.size());
    } catch (const std::exception& error) {
      failure = error.what();
    }
  }
  failure = broadcast_text(communicator, failure, 0);
  if (!failure.empty()) {
    throw CheckpointError(
        fmt::format("step {}: the checkpoint was not written: {}. Earlier "
                    "checkpoints in {} are untouched",
                    state.progress.step(), failure, root.string()));
  }
  return root / step_folder_name(state.progress.step());
}

void remove_stale_attempts(const std::filesystem::path& root) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root, ignored)) {
    if (!is_attempt_folder(entry.path().filename().string())) continue;
    spdlog::info("removing {}, left behind by a process that ended while saving",
                 entry.path().string());
    std::filesystem::remove_all(entry.path());
  }
}

}  // namespace molora
