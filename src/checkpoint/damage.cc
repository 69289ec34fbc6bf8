#include "checkpoint/damage.h"

#include <fmt/format.h>

namespace molora {

std::string damage_text(const std::filesystem::path& step_folder, const Damage& damage) {
  std::string text = (damage.file.empty() ? step_folder : step_folder / damage.file).string();
  if (!damage.tensor.empty()) text += ": tensor " + damage.tensor;
  if (damage.begin < damage.end) text += fmt::format(": bytes {} to {}", damage.begin, damage.end);
  return text + ": " + damage.what;
}

}  // namespace molora
