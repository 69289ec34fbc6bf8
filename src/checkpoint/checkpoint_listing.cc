#include "checkpoint/checkpoint_listing.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "checkpoint/step_folder.h"

namespace molora {

namespace {

constexpr uint64_t kMaxLatestBytes = 4096;

bool is_step_folder(FileSystem& files, const std::filesystem::path& path) {
  const std::string name = path.filename().string();
  return step_of_folder(name) || is_attempt_folder(name) || is_damaged_folder(name) ||
         files.exists(path / kManifestName);
}

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

}  // namespace

CheckpointListing list_checkpoints(FileSystem& files, const std::filesystem::path& path) {
  // "runs/x/" is runs/x.
  const std::filesystem::path folder = path.has_filename() ? path : path.parent_path();
  if (!files.exists(folder)) throw CheckpointError(fmt::format("{}: is not there", path.string()));
  CheckpointListing listing;
  if (is_step_folder(files, folder)) {
    listing.steps.push_back(folder);
    return listing;
  }
  const std::filesystem::path inside = folder / "checkpoints";
  listing.root = files.exists(inside) ? inside : folder;
  for (const FileSystem::Entry& entry : files.list(listing.root)) {
    if (!entry.is_folder) continue;
    if (step_of_folder(entry.name)) listing.steps.push_back(listing.root / entry.name);
    if (is_attempt_folder(entry.name)) listing.attempts.push_back(entry.name);
    if (is_damaged_folder(entry.name)) listing.put_aside.push_back(entry.name);
  }
  std::sort(listing.steps.begin(), listing.steps.end(), [](const auto& a, const auto& b) {
    return *step_of_folder(a.filename().string()) > *step_of_folder(b.filename().string());
  });
  if (listing.steps.empty() && listing.attempts.empty() && listing.put_aside.empty()) {
    throw CheckpointError(fmt::format(
        "{}: there is no checkpoint here; expected a run folder (with checkpoints/step-N in it), "
        "a folder with step-N in it, or a step-N folder",
        path.string()));
  }
  if (files.exists(listing.root / kLatestName)) {
    listing.latest = first_line(read_file(files, listing.root / kLatestName, kMaxLatestBytes));
  }
  return listing;
}

}  // namespace molora
