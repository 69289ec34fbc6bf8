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

// The names that one message about an unknown field chooses from.
class Candidates {
 public:
  Candidates(const Descriptor& message, std::string_view around)
      : around_(around), here_(field_names(message)), all_(all_fields(*RunConfig::descriptor())) {}

  bool has_path(const std::string& path) const {
    return std::any_of(all_.begin(), all_.end(),
                       [&](const SchemaField& field) { return field.path == path; });
  }
  const std::vector<std::string>& here() const { return here_; }

  // The dotted names that `name` may stand for, the best guess first.
  std::vector<std::string> guesses(const std::string& name) const {
    const auto is_name = [&](const std::string& other) { return other == name; };
    if (auto same = paths_where(is_name); !same.empty()) return same;
    if (const std::string near = nearest_name(name, here_); !near.empty()) {
      return {join_name(around_, near)};
    }
    const auto is_long = [&](const std::string& other) { return abbreviates(name, other); };
    const auto longer_here = std::find_if(here_.begin(), here_.end(), is_long);
    if (longer_here != here_.end()) return {join_name(around_, *longer_here)};
    if (auto longer = paths_where(is_long); !longer.empty()) return longer;
    return paths_named_like(name);
  }

 private:
  // The paths of all fields whose own name is accepted.
  template <typename Accept>
  std::vector<std::string> paths_where(Accept accept) const {
    std::vector<std::string> paths;
    for (const SchemaField& field : all_) {
      if (accept(std::string(field.field->name()))) paths.push_back(field.path);
    }
    return paths;
  }

  std::vector<std::string> paths_named_like(const std::string& name) const {
    std::vector<std::string> names;
    names.reserve(all_.size());
    for (const SchemaField& field : all_) names.emplace_back(field.field->name());
    const std::string near = nearest_name(name, names);
    if (near.empty()) return {};
    return paths_where([&](const std::string& other) { return other == near; });
  }

  std::string_view around_;
  std::vector<std::string> here_;
  std::vector<SchemaField> all_;
};

}  // namespace

std::string name_hint(const Descriptor& message, std::string_view around, const std::string& name) {
  const Candidates candidates(message, around);
  const size_t dot = name.find('.');
  if (dot != std::string::npos && candidates.has_path(name)) {
    return fmt::format("; names with dots are for --set, write '{}:' as a mapping in the file",
                       name.substr(0, dot));
  }
  std::vector<std::string> meant = candidates.guesses(name);
  if (meant.empty()) return fmt::format("; known here: {}", fmt::join(candidates.here(), ", "));
  if (meant.size() > kMaxSuggestions) meant.resize(kMaxSuggestions);
  return fmt::format("; did you mean '{}'?", fmt::join(meant, "' or '"));
}

}  // namespace molora
