#include "data/sample_parser.h"

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/strict_json.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr size_t kKeysShown = 8;

[[noreturn]] void refuse(std::string_view where, std::string_view expected, std::string_view got) {
  throw DataError(fmt::format("{}: expected {}, got {}", where, expected, got));
}

// "string", "null", ..: what a value is.
std::string kind(const json& value) { return value.type_name(); }

std::string keys_of(const json& object) {
  std::vector<std::string> keys;
  for (const auto& [key, unused] : object.items()) {
    keys.push_back(keys.size() == kKeysShown ? ".." : json_excerpt(key));
    if (keys.size() > kKeysShown) break;
  }
  return keys.empty() ? "an object without keys"
                      : fmt::format("the keys {}", fmt::join(keys, ", "));
}

// nullptr when the key is absent or null.
const json* find(const json& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

const json& require(const json& object, const char* key, std::string_view where) {
  const auto found = object.find(key);
  if (found == object.end()) {
    refuse(where, fmt::format("key \"{}\"", key), keys_of(object));
  }
  return *found;
}

std::string require_text(const json& object, const char* key, const std::string& where) {
  const json& value = require(object, key, where);
  if (!value.is_string()) refuse(fmt::format("{}: {}", where, key), "a string", kind(value));
  return value.get<std::string>();
}

std::optional<std::string> optional_text(const json& object, const char* key,
                                         const std::string& where) {
  const json* value = find(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) refuse(fmt::format("{}: {}", where, key), "a string", kind(*value));
  return value->get<std::string>();
}

const json& require_list(const json& object, const char* key) {
  const json& value = require(object, key, "sample");
  if (!value.is_array()) refuse(key, "a list of turns", kind(value));
  if (value.empty()) refuse(key, "at least one turn", "an empty list");
  return value;
}

std::string turn_name(size_t index) { return fmt::format("turn {}", index + 1); }

Turn ming_turn(const json& turn, const std::string& where) {
  if (!turn.is_object()) refuse(where, "an object", kind(turn));
  const bool has_from = turn.contains("from");
  if (has_from && turn.contains("role")) refuse(where, "key \"from\" or \"role\"", "both");
  const char* key = has_from || !turn.contains("role") ? "from" : "role";
  const std::string speaker = require_text(turn, key, where);
  std::string text = require_text(turn, "value", where);
  if (speaker == "human" || speaker == "user") return {Role::kUser, std::move(text)};
  if (speaker == "gpt" || speaker == "assistant") return {Role::kAssistant, std::move(text)};
  if (speaker == "system") return {Role::kSystem, std::move(text)};
  refuse(fmt::format("{}: {}", where, key), "human, gpt or system", json_excerpt(speaker));
}

// A content of parts, joined; only parts of text can be trained on.
std::string joined_parts(const json& parts, const std::string& where) {
  std::string text;
  for (const json& part : parts) {
    if (!part.is_object()) refuse(where + ": content", "parts that are objects", kind(part));
    const std::string type = require_text(part, "type", where + ": content");
    if (type != "text") {
      refuse(where + ": content", "parts of type \"text\" only", json_excerpt(type));
    }
    text += require_text(part, "text", where + ": content");
  }
  return text;
}

Role role_of(const std::string& name, const std::string& where) {
  if (name == "user") return Role::kUser;
  if (name == "assistant") return Role::kAssistant;
  if (name == "system") return Role::kSystem;
  if (name == "tool" || name == "function") {
    refuse(where + ": role", "user, assistant or system (tool calls are not supported)",
           json_excerpt(name));
  }
  refuse(where + ": role", "user, assistant or system", json_excerpt(name));
}

Turn messages_turn(const json& message, const std::string& where) {
  if (!message.is_object()) refuse(where, "an object", kind(message));
  const Role role = role_of(require_text(message, "role", where), where);
  for (const char* key : {"tool_calls", "function_call"}) {
    if (find(message, key) != nullptr) {
      refuse(where, "a message of text (tool calls are not supported)", key);
    }
  }
  if (const json* weight = find(message, "weight"); weight != nullptr && *weight != 1) {
    refuse(where + ": weight", "1 (every answer is trained on)", json_excerpt(weight->dump()));
  }
  const json& content = require(message, "content", where);
  if (content.is_array()) return {role, joined_parts(content, where)};
  if (!content.is_string()) {
    refuse(where + ": content", "a string or a list of text parts", kind(content));
  }
  return {role, content.get<std::string>()};
}

using TurnParser = Turn (*)(const json&, const std::string&);

std::vector<Turn> listed_turns(const json& list, TurnParser parse) {
  std::vector<Turn> turns;
  for (const json& turn : list) turns.push_back(parse(turn, turn_name(turns.size())));
  return turns;
}

void append_history(const json& history, std::vector<Turn>& turns) {
  if (!history.is_array()) refuse("history", "a list of [user, assistant] pairs", kind(history));
  for (const json& pair : history) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_string() || !pair[1].is_string()) {
      refuse("history", "pairs [user, assistant] of two strings",
             pair.is_array() ? fmt::format("a list of {}", pair.size()) : kind(pair));
    }
    turns.push_back({Role::kUser, pair[0].get<std::string>()});
    turns.push_back({Role::kAssistant, pair[1].get<std::string>()});
  }
}

std::vector<Turn> alpaca_turns(const json& sample) {
  std::vector<Turn> turns;
  if (const auto system = optional_text(sample, "system", "sample"); system && !system->empty()) {
    turns.push_back({Role::kSystem, *system});
  }
  if (const json* history = find(sample, "history")) append_history(*history, turns);
  std::string question = require_text(sample, "instruction", "sample");
  if (const auto input = optional_text(sample, "input", "sample"); input && !input->empty()) {
    question += (question.empty() ? "" : "\n") + *input;
  }
  turns.push_back({Role::kUser, std::move(question)});
  if (auto output = optional_text(sample, "output", "sample")) {
    turns.push_back({Role::kAssistant, *std::move(output)});
  }
  return turns;
}

// PromptCBLUE's form, which has no name as a format: it is only ever found by its keys.
bool is_promptcblue(const json& sample) {
  return sample.contains("input") && sample.contains("target") &&
         !sample.contains("conversations") && !sample.contains("messages") &&
         !sample.contains("instruction");
}

std::vector<Turn> promptcblue_turns(const json& sample) {
  return {{Role::kUser, require_text(sample, "input", "sample")},
          {Role::kAssistant, require_text(sample, "target", "sample")}};
}

DataSource::Format format_of(const json& sample) {
  constexpr std::pair<const char*, DataSource::Format> kForms[] = {
      {"conversations", DataSource::ming},
      {"messages", DataSource::messages},
      {"instruction", DataSource::alpaca}};
  std::optional<DataSource::Format> format;
  for (const auto& [key, form] : kForms) {
    if (!sample.contains(key)) continue;
    if (format) {
      refuse("sample", "one of the keys \"conversations\", \"messages\" and \"instruction\"",
             "more than one; set the format of the source");
    }
    format = form;
  }
  if (!format) {
    refuse("sample",
           "one of the keys \"conversations\", \"messages\" and \"instruction\", or \"input\" with "
           "\"target\"",
           keys_of(sample));
  }
  return *format;
}

std::vector<Turn> turns_of(const json& sample, DataSource::Format format) {
  switch (format) {
    case DataSource::auto_:
      if (is_promptcblue(sample)) return promptcblue_turns(sample);
      return turns_of(sample, format_of(sample));
    case DataSource::ming:
      return listed_turns(require_list(sample, "conversations"), ming_turn);
    case DataSource::messages:
      return listed_turns(require_list(sample, "messages"), messages_turn);
    case DataSource::alpaca:
      return alpaca_turns(sample);
  }
  throw DataError(fmt::format("format {} is unknown", static_cast<int>(format)));
}

// Leaves a leading assistant turn out, as MING does; true when there was one.
bool drop_leading_answer(std::vector<Turn>& turns) {
  const size_t first = !turns.empty() && turns[0].role == Role::kSystem ? 1 : 0;
  if (first >= turns.size() || turns[first].role != Role::kAssistant) return false;
  turns.erase(turns.begin() + static_cast<ptrdiff_t>(first));
  return true;
}

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n\v\f") == std::string::npos;
}

// `dropped` turns before the first one here count in the messages.
void check_turns(const std::vector<Turn>& turns, size_t dropped,
                 SampleReaderOptions::LastTurn last_turn) {
  const size_t first = !turns.empty() && turns[0].role == Role::kSystem ? 1 : 0;
  if (first == turns.size()) refuse("sample", "a user turn", "none");
  for (size_t i = first; i < turns.size(); ++i) {
    const Role expected = (i - first) % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (turns[i].role != expected) {
      refuse(turn_name(i + dropped), fmt::format("a turn of the {}", role_name(expected)),
             fmt::format("one of the {}", role_name(turns[i].role)));
    }
    if (expected == Role::kAssistant && is_blank(turns[i].text)) {
      refuse(turn_name(i + dropped), "an answer", "an empty text");
    }
  }
  if (last_turn == SampleReaderOptions::LastTurn::kAssistant &&
      turns.back().role != Role::kAssistant) {
    refuse(turn_name(turns.size() - 1 + dropped), "an answer at the end",
           "a last turn of the user");
  }
}

// The object with the keys of evaluation files: MING's "eval", else the sample itself.
const json& evaluation_of(const json& sample) {
  const json* eval = find(sample, "eval");
  return eval != nullptr && eval->is_object() ? *eval : sample;
}

std::optional<std::vector<std::string>> choices_of(const json& sample) {
  const char* key = "choices";
  const json* list = find(sample, key);
  if (list == nullptr) list = find(evaluation_of(sample), key = "answer_choices");
  if (list == nullptr) return std::nullopt;
  if (!list->is_array()) refuse(key, "a list of strings", kind(*list));
  std::vector<std::string> choices;
  for (const json& choice : *list) {
    if (!choice.is_string()) refuse(key, "a list of strings", "an element " + kind(choice));
    choices.push_back(choice.get<std::string>());
  }
  return choices;
}

// The explicit key, else that of MING's evaluation files, whose values of other kinds (the
// structured answers of some tasks) are not multiple choice.
std::optional<std::string> answer_of(const json& sample) {
  if (auto answer = optional_text(sample, "answer", "sample")) return answer;
  const json* eval = find(sample, "eval");
  if (eval == nullptr || !eval->is_object()) return std::nullopt;
  for (const char* key : {"answer_idx", "answer"}) {
    const json* answer = find(*eval, key);
    if (answer != nullptr && answer->is_string()) return answer->get<std::string>();
  }
  return std::nullopt;
}

// A text or a number as text; "" for anything else.
std::string plain_text(const json& object, const char* key) {
  const json* value = find(object, key);
  if (value == nullptr) return {};
  if (value->is_string()) return value->get<std::string>();
  return value->is_number() ? value->dump() : "";
}

}  // namespace

ParsedSample parse_sample(std::string_view text, DataSource::Format format,
                          SampleReaderOptions::LastTurn last_turn) {
  const json sample = parse_strict_json(text);
  if (!sample.is_object()) {
    refuse("sample", "an object",
           kind(sample) + (sample.is_array() ? "; a file of one array is named .json" : ""));
  }
  ParsedSample parsed;
  Conversation& conversation = parsed.conversation;
  conversation.turns = turns_of(sample, format);
  parsed.had_leading_answer = drop_leading_answer(conversation.turns);
  check_turns(conversation.turns, parsed.had_leading_answer ? 1 : 0, last_turn);
  const json& evaluation = evaluation_of(sample);
  conversation.dataset = plain_text(evaluation, "task_dataset");
  if (&evaluation != &sample) conversation.type = plain_text(evaluation, "type");
  conversation.task = optional_text(sample, "task", "sample").value_or(conversation.dataset);
  conversation.id = plain_text(sample, "id");
  if (conversation.id.empty()) conversation.id = plain_text(evaluation, "sample_id");
  conversation.choices = choices_of(sample);
  conversation.answer = answer_of(sample);
  return parsed;
}

}  // namespace molora
