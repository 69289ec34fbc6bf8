#include "checkpoint/damage.h"

#include <vector>

#include <fmt/format.h>

namespace molora {

std::string damage_text(const std::filesystem::path& step_folder, const Damage& damage) {
  std::vector<std::string> parts;
  const auto file = damage.file.empty() ? step_folder : step_folder / damage.file;
  if (!file.empty()) parts.push_back(file.string());
  if (!damage.tensor.empty()) parts.push_back("tensor " + damage.tensor);
  if (damage.begin < damage.end) {
    parts.push_back(fmt::format("bytes {} to {}", damage.begin, damage.end));
  }
  parts.push_back(damage.what);
  return fmt::format("{}", fmt::join(parts, ": "));
}

}  // namespace molora
