// One conversation of the data, whatever form its file has.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace molora {

enum class Role { kSystem, kUser, kAssistant };

// "system", "user", "assistant".
constexpr const char* role_name(Role role) {
  switch (role) {
    case Role::kSystem:
      return "system";
    case Role::kUser:
      return "user";
    case Role::kAssistant:
      return "assistant";
  }
  return "?";
}

struct Turn {
  Role role = Role::kUser;
  std::string text;  // UTF-8

  bool operator==(const Turn&) const = default;
};

// As SampleReader gives it: at most one system turn, which is the first; then user and assistant in
// turn, beginning with user.
struct Conversation {
  std::vector<Turn> turns;
  std::string task;  // of the sample, else of its source; may be empty
  std::string id;    // as the file has it; may be empty
  // Which task of a published benchmark it is ("CMeEE-V2"): how answers to it are read and scored.
  // May be empty; where the sample has no `task`, this is its task too.
  std::string dataset;
  std::string type;    // of a question, as evaluation files have it; may be empty
  std::string origin;  // file:line

  // For multiple choice: the texts to choose from, and the right one by its text or its letters.
  // For the extraction tasks of a benchmark: the types to look for.
  std::optional<std::vector<std::string>> choices;
  std::optional<std::string> answer;
};

}  // namespace molora
