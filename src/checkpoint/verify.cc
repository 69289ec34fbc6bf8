#include "checkpoint/verify.h"

#include <algorithm>
#include <optional>
#include <set>

#include <fmt/format.h>

#include "base/error.h"
#include "checkpoint/file_check.h"
#include "checkpoint/manifest.h"
#include "checkpoint/step_folder.h"

namespace molora {

namespace {

// `message` without the path that it begins with: a damage names its file itself.
std::string without_path(const std::string& message, const std::filesystem::path& step_folder) {
  for (const std::filesystem::path& path : {step_folder / kManifestName, step_folder}) {
    const std::string prefix = path.string() + ": ";
    if (message.starts_with(prefix)) return message.substr(prefix.size());
  }
  return message;
}

uint64_t manifest_size(FileSystem& files, const std::filesystem::path& step_folder) {
  try {
    return files.open(step_folder / kManifestName)->size();
  } catch (const IoError&) {
    return 0;  // the damage says why
  }
}

std::optional<CheckpointManifest> open_manifest(FileSystem& files,
                                                const std::filesystem::path& step_folder,
                                                std::vector<Damage>& damages) {
  try {
    return read_manifest(files, step_folder);
  } catch (const Error& error) {
    damages.push_back({kManifestName,
                       {},
                       0,
                       manifest_size(files, step_folder),
                       without_path(error.what(), step_folder)});
    return std::nullopt;
  }
}

// What is wrong with the manifest itself, as far as files can be checked by it all the same.
std::vector<Damage> manifest_damages(const std::filesystem::path& step_folder,
                                     const CheckpointManifest& manifest, const TensorIndex& index) {
  std::vector<Damage> damages;
  const auto report = [&](const std::string& what) {
    damages.push_back({kManifestName, {}, 0, 0, what});
  };
  if (manifest.files_size() == 0) report("names no file");
  std::set<std::string> names;
  for (const FileRecord& file : manifest.files()) {
    const bool is_plain =
        !file.name().empty() && file.name() == std::filesystem::path(file.name()).filename();
    if (!is_plain) report(fmt::format("names a file outside of the folder: '{}'", file.name()));
    if (!names.insert(file.name()).second) report(fmt::format("names {} twice", file.name()));
  }
  damages.insert(damages.end(), index.faults.begin(), index.faults.end());
  const int64_t step = manifest.progress().step();
  const int64_t step_of_name = step_of_folder(step_folder.filename().string()).value_or(step);
  if (step_of_name != step) {
    report(fmt::format("is that of step {}, in the folder of step {}", step, step_of_name));
  }
  return damages;
}

void append(std::vector<Damage>& to, std::vector<Damage> from) {
  to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
}

std::vector<Damage> unnamed_files(FileSystem& files, const std::filesystem::path& step_folder,
                                  const CheckpointManifest& manifest) {
  std::set<std::string> named{kManifestName};
  for (const FileRecord& file : manifest.files()) named.insert(file.name());
  std::vector<Damage> notes;
  for (const FileSystem::Entry& entry : files.list(step_folder)) {
    if (named.count(entry.name) > 0) continue;
    notes.push_back({entry.name, {}, 0, 0, "is not named by the manifest"});
  }
  return notes;
}

}  // namespace

Verification verify_checkpoint(FileSystem& files, const std::filesystem::path& step_folder) {
  Verification result;
  const auto manifest = open_manifest(files, step_folder, result.damages);
  if (!manifest) return result;
  const TensorIndex index = index_tensors(*manifest);
  append(result.damages, manifest_damages(step_folder, *manifest, index));
  result.step = manifest->progress().step();
  for (const FileExpectation& expected : file_expectations(*manifest, index)) {
    append(result.damages, check_file(files, step_folder, expected));
    result.bytes += expected.bytes;
  }
  result.num_files = manifest->files_size();
  result.num_tensors = static_cast<int64_t>(index.tensors.size());
  try {
    append(result.notes, unnamed_files(files, step_folder, *manifest));
  } catch (const IoError& error) {
    result.damages.push_back({{}, {}, 0, 0, without_path(error.what(), step_folder)});
  }
  return result;
}

std::vector<Damage> find_damages(FileSystem& files, const std::filesystem::path& step_folder) {
  return verify_checkpoint(files, step_folder).damages;
}

std::string check_files(FileSystem& files, const std::filesystem::path& step_folder,
                        const CheckpointManifest& manifest, int share, int num_shares) {
  const TensorIndex index = index_tensors(manifest);
  if (share == 0) {
    const std::vector<Damage> damages = manifest_damages(step_folder, manifest, index);
    if (!damages.empty()) return damage_text(step_folder, damages.front());
  }
  const std::vector<FileExpectation> expectations = file_expectations(manifest, index);
  for (auto i = static_cast<size_t>(share); i < expectations.size();
       i += static_cast<size_t>(num_shares)) {
    const std::vector<Damage> damages = check_file(files, step_folder, expectations[i]);
    if (!damages.empty()) return damage_text(step_folder, damages.front());
  }
  return {};
}

}  // namespace molora
