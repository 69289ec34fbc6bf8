#include "checkpoint/step_folder.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

namespace molora {

namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kAttempt = ".tmp-";
constexpr size_t kDigits = 8;

}  // namespace

std::string step_folder_name(int64_t step) { return fmt::format("step-{:08}", step); }

std::string attempt_folder_name(int64_t step, int64_t attempt) {
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

std::vector<int64_t> committed_steps(const std::filesystem::path& root) {
  std::vector<int64_t> steps;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(root, ignored)) {
    if (!entry.is_directory()) continue;
    if (const auto step = step_of_folder(entry.path().filename().string())) steps.push_back(*step);
  }
  std::sort(steps.begin(), steps.end());
  return steps;
}

}  // namespace molora
