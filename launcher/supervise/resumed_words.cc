#include "launcher/supervise/resumed_words.h"

#include <string_view>

namespace molora {

namespace {

constexpr std::string_view kOption = "--resume";
constexpr std::string_view kOptionWithValue = "--resume=";

bool is_path(std::string_view resume) {
  return !resume.empty() && resume != "auto" && resume != "none";
}

}  // namespace

std::vector<std::string> resumed_words(const std::vector<std::string>& words,
                                       const std::string& configured, Checkpoints checkpoints) {
  std::vector<std::string> others;
  std::string resume = configured;
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == kOption && i + 1 < words.size()) {
      resume = words[++i];
    } else if (words[i].starts_with(kOptionWithValue)) {
      resume = words[i].substr(kOptionWithValue.size());
    } else {
      others.push_back(words[i]);
    }
  }
  if (checkpoints == Checkpoints::kNone && is_path(resume)) return words;
  others.insert(others.end(), {std::string(kOption), "auto"});
  return others;
}

}  // namespace molora
