#include "launcher/plan/user_settings.h"

#include <algorithm>

namespace molora {

namespace {

// "map-by" of --map-by, -map-by and --map-by=slot; "" when it is no option.
std::string_view option_name(std::string_view word) {
  if (word.size() < 2 || word.front() != '-') return {};
  word.remove_prefix(word[1] == '-' ? 2 : 1);
  return word.substr(0, word.find('='));
}

bool is_one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::optional<std::string> UserSettings::variable(const std::string& name) const {
  return molora::variable(environment_, name);
}

std::optional<std::string> UserSettings::mca(std::initializer_list<std::string_view> names) const {
  for (size_t i = 0; i + 2 < arguments_.size(); ++i) {
    const bool is_mca = is_one_of(option_name(arguments_[i]), {"mca", "gmca", "omca", "prtemca"});
    if (is_mca && is_one_of(arguments_[i + 1], names)) return arguments_[i + 2];
  }
  for (const std::string_view name : names) {
    for (const char* prefix : {"OMPI_MCA_", "PRTE_MCA_"}) {
      auto value = variable(prefix + std::string(name));
      if (value) return value;
    }
  }
  return std::nullopt;
}

bool UserSettings::has_option(std::initializer_list<std::string_view> names) const {
  return std::any_of(arguments_.begin(), arguments_.end(),
                     [&](const std::string& word) { return is_one_of(option_name(word), names); });
}

}  // namespace molora
