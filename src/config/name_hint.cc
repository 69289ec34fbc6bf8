#include "config/name_hint.h"

#include <algorithm>
#include <cstddef>
#include <vector>

#include <fmt/format.h>

#include "base/nearest_name.h"

namespace molora {

namespace {

constexpr size_t kMaxSuggestions = 3;

std::vector<std::string> words_of(std::string_view name) {
  std::vector<std::string> words(1);
  for (const char c : name) {
    if (c == '_' || c == '-') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  return words;
}

// Whether `shorter` is the initials of `name` (lr, learning_rate) or some of its words (epochs,
// num_epochs).
bool abbreviates(std::string_view shorter, std::string_view name) {
  const std::vector<std::string> words = words_of(name);
  const std::vector<std::string> part = words_of(shorter);
  if (words.size() < 2 || shorter.empty()) return false;
  if (std::search(words.begin(), words.end(), part.begin(), part.end()) != words.end()) return true;
  std::string initials;
  for (const std::string& word : words) initials += word.substr(0, 1);
  return initials == shorter;
}

// The paths of all fields whose own name is accepted.
template <typename Accept>
std::vector<std::string> paths_where(Accept accept) {
  std::vector<std::string> paths;
  for (const SchemaField& candidate : all_fields(*RunConfig::descriptor())) {
    if (accept(std::string(candidate.field->name()))) paths.push_back(candidate.path);
  }
  return paths;
}

// The dotted names that `name` may stand for, the best guess first.
std::vector<std::string> guesses(const Descriptor& message, std::string_view around,
                                 const std::string& name) {
  const auto is_name = [&](const std::string& other) { return other == name; };
  if (auto same = paths_where(is_name); !same.empty()) return same;
  const std::vector<std::string> here = field_names(message);
  if (const std::string near = nearest_name(name, here); !near.empty()) {
    return {join_name(around, near)};
  }
  const auto is_long = [&](const std::string& other) { return abbreviates(name, other); };
  for (const std::string& other : here) {
    if (is_long(other)) return {join_name(around, other)};
  }
  if (auto longer = paths_where(is_long); !longer.empty()) return longer;
  std::vector<std::string> names;
  for (const SchemaField& field : all_fields(*RunConfig::descriptor())) {
    names.emplace_back(field.field->name());
  }
  const std::string far = nearest_name(name, names);
  if (far.empty()) return {};
  return paths_where([&](const std::string& other) { return other == far; });
}

}  // namespace

std::string name_hint(const Descriptor& message, std::string_view around, const std::string& name) {
  for (const SchemaField& field : all_fields(*RunConfig::descriptor())) {
    if (name == field.path && name.find('.') != std::string::npos) {
      return fmt::format("; names with dots are for --set, write '{}:' as a mapping in the file",
                         name.substr(0, name.find('.')));
    }
  }
  std::vector<std::string> meant = guesses(message, around, name);
  if (meant.empty()) return fmt::format("; known here: {}", fmt::join(field_names(message), ", "));
  if (meant.size() > kMaxSuggestions) meant.resize(kMaxSuggestions);
  return fmt::format("; did you mean '{}'?", fmt::join(meant, "' or '"));
}

}  // namespace molora
