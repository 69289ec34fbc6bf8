#include "checkpoint/commit.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "checkpoint/manifest.h"
#include "checkpoint/step_folder.h"
#include "checkpoint/tensor_index.h"
#include "checkpoint/verify.h"

namespace molora {

namespace {

// On a file system that the machines do not share, every rank has written its files and none is a
// checkpoint.
void check_is_visible(FileSystem& files, const std::filesystem::path& path,
                      const FileRecord& record, size_t rank) {
  const std::string advice =
      "; output_dir must be on a file system that all machines of the run share";
  uint64_t size = 0;
  try {
    size = files.open(path)->size();
  } catch (const IoError& error) {
    throw CheckpointError(fmt::format("the file that rank {} wrote cannot be seen by rank 0: {}{}",
                                      rank, error.what(), advice));
  }
  if (size == record.bytes()) return;
  throw CheckpointError(fmt::format("{}: rank {} wrote {} bytes, rank 0 sees {}{}", path.string(),
                                    rank, record.bytes(), size, advice));
}

// What is committed can be read: every tensor is there, every element once.
void check_tensors(const std::filesystem::path& folder, const CheckpointManifest& manifest,
                   const std::vector<std::string>& expected_names) {
  constexpr char kWhat[] = "the parts of the ranks do not fit together";
  const TensorIndex index = index_tensors(manifest);
  if (!index.faults.empty()) {
    throw CheckpointError(fmt::format("{}: {}", kWhat, damage_text(folder, index.faults.front())));
  }
  for (const std::string& name : expected_names) {
    if (index.tensors.count(name) > 0) continue;
    throw CheckpointError(fmt::format("{}: no rank wrote tensor {}", kWhat, name));
  }
}

// Whether a valid checkpoint of this step is there. A damaged one is put aside.
bool is_there_already(FileSystem& files, const std::filesystem::path& root, int64_t step) {
  const std::filesystem::path folder = root / step_folder_name(step);
  if (!files.exists(folder)) return false;
  const std::vector<Damage> damages = find_damages(files, folder);
  if (damages.empty()) return true;
  spdlog::warn("the checkpoint of step {} that was there is damaged: {}; kept as {}", step,
               damage_text(folder, damages.front()), put_aside(files, root, step));
  return false;
}

}  // namespace

void commit(FileSystem& files, const FinishedAttempt& finished) {
  CheckpointManifest manifest = finished.manifest;
  const int64_t step = manifest.progress().step();
  const std::filesystem::path folder = finished.root / attempt_folder_name(step, finished.attempt);
  for (size_t rank = 0; rank < finished.parts.size(); ++rank) {
    const PartRecord& part = finished.parts[rank];
    for (const FileRecord& file : part.files()) {
      check_is_visible(files, folder / file.name(), file, rank);
    }
    manifest.mutable_files()->MergeFrom(part.files());
    manifest.mutable_tensors()->MergeFrom(part.tensors());
  }
  manifest.set_format_version(kCheckpointFormatVersion);
  check_tensors(folder, manifest, finished.expected_names);
  // Syncs the folder, and so the names of the parts as well, which their writers left to this.
  write_file_atomic(files, folder / kManifestName, manifest_bytes(manifest));
  if (is_there_already(files, finished.root, step)) {
    remove_all(files, folder);
    return;
  }
  files.rename(folder, finished.root / step_folder_name(step));
  try {
    files.sync_folder(finished.root);
  } catch (const IoError& error) {
    spdlog::warn("step {} is saved, but may not outlast a crash of the machine: {}", step,
                 error.what());
  }
}

void write_latest(FileSystem& files, const std::filesystem::path& root, int64_t step) {
  write_file_atomic(files, root / kLatestName, step_folder_name(step) + "\n");
}

}  // namespace molora
