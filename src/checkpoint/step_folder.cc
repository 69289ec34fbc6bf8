#include "checkpoint/step_folder.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace molora {

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kAttempt = ".tmp-";
constexpr std::string_view kDamaged = ".damaged";
constexpr size_t kDigits = 8;

}  // namespace

std::string step_folder_name(int64_t step) { return fmt::format("step-{:08}", step); }

std::string attempt_folder_name(int64_t step, const std::string& attempt) {
  return fmt::format("step-{:08}.tmp-{}", step, attempt);
}

std::string part_file_name(const std::string& kind, int rank) {
  return fmt::format("{}-{:05}.safetensors", kind, rank);
}

std::optional<int64_t> step_of_folder(const std::string& name) {
  if (!name.starts_with(kPrefix) || name.size() < kPrefix.size() + kDigits) return std::nullopt;
  int64_t step = 0;
  const char* end = name.data() + name.size();
  const auto [stop, error] = std::from_chars(name.data() + kPrefix.size(), end, step);
  if (error != std::errc() || stop != end || step < 0) return std::nullopt;
  return step;
}

bool is_attempt_folder(const std::string& name) {
  return name.starts_with(kPrefix) && name.find(kAttempt) != std::string::npos;
}

bool is_damaged_folder(const std::string& name) {
  const size_t dot = name.find(kDamaged);
  return dot != std::string::npos && step_of_folder(name.substr(0, dot)).has_value();
}

std::vector<int64_t> committed_steps(FileSystem& files, const std::filesystem::path& root) {
  std::vector<int64_t> steps;
  for (const FileSystem::Entry& entry : files.list(root)) {
    if (!entry.is_folder) continue;
    if (const auto step = step_of_folder(entry.name)) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::vector<std::string> remove_stale_attempts(FileSystem& files,
                                               const std::filesystem::path& root) {
  std::vector<std::string> removed;
  for (const FileSystem::Entry& entry : files.list(root)) {
    const bool is_hint_attempt = entry.name == std::string(kLatestName) + ".tmp";
    if (!is_hint_attempt && !is_attempt_folder(entry.name)) continue;
    remove_all(files, root / entry.name);
    removed.push_back(entry.name);
  }
  if (!removed.empty()) files.sync_folder(root);
  return removed;
}

std::string put_aside(FileSystem& files, const std::filesystem::path& root, int64_t step) {
  const std::string first = fmt::format("{}{}", step_folder_name(step), kDamaged);
  std::string name = first;
  for (int n = 2; files.exists(root / name); ++n) name = fmt::format("{}-{}", first, n);
  files.rename(root / step_folder_name(step), root / name);
  files.sync_folder(root);
  return name;
}

void remove_step(FileSystem& files, const std::filesystem::path& root, int64_t step) {
  const std::filesystem::path leaving = root / attempt_folder_name(step, "removed");
  // One may be left of an earlier removal that failed.
  remove_all(files, leaving);
  files.rename(root / step_folder_name(step), leaving);
  files.sync_folder(root);
  remove_all(files, leaving);
}

}  // namespace molora
