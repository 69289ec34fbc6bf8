#include "serve/completion_request.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/nearest_name.h"
#include "io/strict_json.h"
#include "serve/request_error.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr size_t kMaxStops = 16;
constexpr size_t kMaxStopBytes = 1024;
constexpr int64_t kMaxTopK = int64_t{1} << 31;

[[noreturn]] void refuse(const std::string& field, const std::string& message,
                         const std::string& code = "invalid_value") {
  throw RequestError(400, fmt::format("{}: {}", field, message), {field, code});
}

// The beginning of a value as it was written; ASCII.
std::string shown(const json& value) {
  constexpr size_t kMaxBytes = 60;
  const std::string all = value.dump(-1, ' ', /*ensure_ascii=*/true);
  return all.size() <= kMaxBytes ? all : all.substr(0, kMaxBytes) + "..";
}

[[noreturn]] void refuse_type(const std::string& field, const char* expected, const json& value) {
  refuse(field, fmt::format("expected {}, got {} ({})", expected, shown(value), value.type_name()),
         "invalid_type");
}

const std::string& text(const std::string& field, const json& value) {
  if (!value.is_string()) refuse_type(field, "a string", value);
  return value.get_ref<const std::string&>();
}

bool flag(const std::string& field, const json& value) {
  if (!value.is_boolean()) refuse_type(field, "true or false", value);
  return value.get<bool>();
}

// Also 7.0: some clients know only one kind of number.
int64_t whole_number(const std::string& field, const json& value) {
  if (value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX}) {
    refuse(field, fmt::format("expected at most {}, got {}", INT64_MAX, value.dump()));
  }
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (number == std::floor(number) && std::abs(number) < 9e15) {
      return static_cast<int64_t>(number);
    }
  }
  refuse_type(field, "a whole number", value);
}

int64_t count_within(const std::string& field, const json& value, int64_t low, int64_t high) {
  const int64_t count = whole_number(field, value);
  if (count < low || count > high) {
    refuse(field, fmt::format("expected {} to {}, got {}", low, high, count));
  }
  return count;
}

double number_within(const std::string& field, const json& value, double low, double high) {
  if (!value.is_number()) refuse_type(field, "a number", value);
  const double number = value.get<double>();
  if (!(number >= low && number <= high)) {
    refuse(field, fmt::format("expected {} to {}, got {}", low, high, number));
  }
  return number;
}

// A text, or a list of parts that are text.
std::string content_of(const std::string& field, const json& content) {
  if (content.is_string()) return content.get<std::string>();
  if (!content.is_array()) refuse_type(field, "a string or a list of text parts", content);
  std::string all;
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string at = fmt::format("{}[{}]", field, i);
    const json& part = content[i];
    if (!part.is_object()) refuse_type(at, "an object", part);
    const std::string type = part.contains("type") ? text(at + ".type", part["type"]) : "";
    if (type != "text") {
      refuse(at + ".type", fmt::format("only \"text\" is served, got \"{}\"", type),
             "unsupported_value");
    }
    if (!part.contains("text")) refuse(at + ".text", "is missing", "missing_field");
    all += text(at + ".text", part["text"]);
  }
  return all;
}

Role role_of(const std::string& field, const std::string& name) {
  if (name == "system" || name == "developer") return Role::kSystem;
  if (name == "user") return Role::kUser;
  if (name == "assistant") return Role::kAssistant;
  refuse(field, fmt::format("expected system, developer, user or assistant, got \"{}\"", name));
}

Turn turn_of(const std::string& field, const json& message) {
  if (!message.is_object()) refuse_type(field, "an object", message);
  for (const auto& [key, value] : message.items()) {
    if (key == "role" || key == "content" || value.is_null()) continue;
    // What a client sends back of an earlier answer.
    const bool is_empty = (value.is_array() || value.is_object()) && value.empty();
    if (is_empty && (key == "annotations" || key == "tool_calls")) continue;
    refuse(fmt::format("{}.{}", field, key), "is not served; role and content are",
           "unsupported_parameter");
  }
  for (const char* key : {"role", "content"}) {
    if (!message.contains(key) || message[key].is_null()) {
      refuse(fmt::format("{}.{}", field, key), "is missing", "missing_field");
    }
  }
  return {role_of(field + ".role", text(field + ".role", message["role"])),
          content_of(field + ".content", message["content"])};
}

// The order that the chat template can write: [system,] user, assistant, .., user.
void check_order(const std::vector<Turn>& turns) {
  const size_t first = turns.front().role == Role::kSystem ? 1 : 0;
  for (size_t i = first; i < turns.size(); ++i) {
    const Role expected = (i - first) % 2 == 0 ? Role::kUser : Role::kAssistant;
    if (turns[i].role == expected) continue;
    refuse(fmt::format("messages[{}].role", i),
           fmt::format("expected {}, got {}: after at most one system message, user and assistant "
                       "take turns",
                       role_name(expected), role_name(turns[i].role)));
  }
  if (turns.back().role != Role::kUser) {
    refuse("messages", "the last message has to be one of the user");
  }
}

std::vector<Turn> turns_of(const std::string& field, const json& messages) {
  if (!messages.is_array()) refuse_type(field, "a list", messages);
  if (messages.empty()) refuse(field, "expected at least one message, got none");
  std::vector<Turn> turns;
  for (size_t i = 0; i < messages.size(); ++i) {
    turns.push_back(turn_of(fmt::format("{}[{}]", field, i), messages[i]));
  }
  check_order(turns);
  return turns;
}

std::string prompt_of(const std::string& field, const json& prompt) {
  if (prompt.is_string()) return prompt.get<std::string>();
  if (prompt.is_array() && prompt.size() == 1 && prompt[0].is_string()) {
    return prompt[0].get<std::string>();
  }
  refuse_type(field, "a string (or a list of one)", prompt);
}

std::vector<std::string> stops_of(const std::string& field, const json& stop) {
  const json list = stop.is_array() ? stop : json::array({stop});
  if (list.size() > kMaxStops) {
    refuse(field, fmt::format("expected at most {} strings, got {}", kMaxStops, list.size()));
  }
  std::vector<std::string> stops;
  for (const json& item : list) {
    if (!item.is_string()) refuse_type(field, "a string or a list of strings", stop);
    const std::string& sequence = text(field, item);
    if (sequence.empty() || sequence.size() > kMaxStopBytes) {
      refuse(field, fmt::format("expected strings of 1 to {} bytes, got one of {}", kMaxStopBytes,
                                sequence.size()));
    }
    stops.push_back(sequence);
  }
  return stops;
}

bool include_usage_of(const std::string& field, const json& options) {
  if (!options.is_object()) refuse_type(field, "an object", options);
  bool is_included = false;
  for (const auto& [key, value] : options.items()) {
    if (value.is_null()) continue;
    if (key == "include_usage") {
      is_included = flag(field + ".include_usage", value);
    } else if (!(key == "include_obfuscation" && value == json(false))) {
      refuse(fmt::format("{}.{}", field, key), "is not served; include_usage is",
             "unsupported_parameter");
    }
  }
  return is_included;
}

using Reader = std::function<void(const std::string& field, const json&, CompletionRequest&)>;
using Readers = std::map<std::string, Reader>;

Reader max_tokens_reader(const RequestLimits& limits) {
  return [limits](const std::string& field, const json& value, CompletionRequest& request) {
    const int64_t count = count_within(field, value, 1, INT64_MAX);
    if (count > limits.max_new_tokens) {
      refuse(field, fmt::format("this server gives at most {} tokens an answer, {} were asked for",
                                limits.max_new_tokens, count));
    }
    if (request.max_tokens && *request.max_tokens != count) {
      refuse(field, "max_tokens and max_completion_tokens differ; one of them is enough");
    }
    request.max_tokens = count;
  };
}

// The fields of both kinds that are obeyed.
Readers common_readers(const RequestLimits& limits) {
  using Request = CompletionRequest;
  const auto field_of = [](auto member, auto read) {
    return [member, read](const std::string& field, const json& value, Request& request) {
      request.*member = read(field, value);
    };
  };
  const auto number = [](double high) {
    return [high](const std::string& field, const json& value) {
      return number_within(field, value, 0.0, high);
    };
  };
  const auto count = [](int64_t low, int64_t high) {
    return [low, high](const std::string& field, const json& value) {
      return count_within(field, value, low, high);
    };
  };
  return {{"model", field_of(&Request::model, text)},
          {"max_tokens", max_tokens_reader(limits)},
          {"temperature", field_of(&Request::temperature, number(2.0))},
          {"top_p", field_of(&Request::top_p, number(1.0))},
          {"top_k", field_of(&Request::top_k, count(0, kMaxTopK))},
          {"seed", field_of(&Request::seed,
                            [](const std::string& field, const json& value) {
                              return static_cast<uint64_t>(whole_number(field, value));
                            })},
          {"stop", field_of(&Request::stop, stops_of)},
          {"n", field_of(&Request::num_choices, count(1, limits.max_choices))},
          {"stream", field_of(&Request::is_streamed, flag)},
          {"stream_options", field_of(&Request::has_usage_chunk, include_usage_of)}};
}

Readers readers_of(CompletionKind kind, const RequestLimits& limits) {
  Readers readers = common_readers(limits);
  if (kind == CompletionKind::kChat) {
    readers["max_completion_tokens"] = max_tokens_reader(limits);
    readers["messages"] = [](const std::string& field, const json& value, CompletionRequest& out) {
      out.turns = turns_of(field, value);
    };
  } else {
    readers["prompt"] = [](const std::string& field, const json& value, CompletionRequest& out) {
      out.prompt = prompt_of(field, value);
    };
  }
  return readers;
}

// Fields that are known and not obeyed, with the values under which that changes nothing.
using NeutralValues = std::map<std::string, std::vector<json>>;

const NeutralValues& neutral_values(CompletionKind kind) {
  static const NeutralValues of_both = {
      {"frequency_penalty", {0}}, {"presence_penalty", {0}}, {"logit_bias", {json::object()}}};
  static const NeutralValues of_chat = [] {
    NeutralValues values = of_both;
    values.insert({{"audio", {}},
                   {"function_call", {"none"}},
                   {"functions", {json::array()}},
                   {"logprobs", {false}},
                   {"modalities", {json::array({"text"})}},
                   {"parallel_tool_calls", {true, false}},
                   {"prediction", {}},
                   {"reasoning_effort", {"none"}},
                   {"response_format", {{{"type", "text"}}}},
                   {"store", {false}},
                   {"tool_choice", {"none", "auto"}},
                   {"tools", {json::array()}},
                   {"top_logprobs", {0}},
                   {"verbosity", {"medium"}},
                   {"web_search_options", {}}});
    return values;
  }();
  static const NeutralValues of_text = [] {
    NeutralValues values = of_both;
    values.insert({{"best_of", {1}}, {"echo", {false}}, {"logprobs", {}}, {"suffix", {""}}});
    return values;
  }();
  return kind == CompletionKind::kChat ? of_chat : of_text;
}

// Fields that say nothing of the answer.
bool is_for_the_record(const std::string& field) {
  static const std::vector<std::string> fields = {
      "metadata",          "prompt_cache_key", "prompt_cache_retention",
      "safety_identifier", "service_tier",     "user"};
  return std::find(fields.begin(), fields.end(), field) != fields.end();
}

[[noreturn]] void refuse_unserved(const std::string& field, const json& value,
                                  const std::vector<json>& neutral) {
  refuse(field,
         fmt::format("is not served ({} was asked for){}", shown(value),
                     neutral.empty()
                         ? "; leave it out"
                         : fmt::format("; leave it out or give {}", neutral.front().dump())),
         "unsupported_parameter");
}

[[noreturn]] void refuse_unknown(const std::string& field, const Readers& readers) {
  std::vector<std::string> names;
  for (const auto& [name, reader] : readers) names.push_back(name);
  const std::string nearest = nearest_name(field, names);
  refuse(field,
         nearest.empty() ? "there is no such field"
                         : fmt::format("there is no such field; did you mean {}?", nearest),
         "unknown_parameter");
}

void check_whole(const CompletionRequest& request) {
  if (request.model.empty())
    refuse("model", "is missing; GET /v1/models lists them", "missing_field");
  const bool is_chat = request.kind == CompletionKind::kChat;
  if (is_chat && request.turns.empty()) refuse("messages", "is missing", "missing_field");
  if (!is_chat && request.prompt.empty()) refuse("prompt", "is missing or empty", "missing_field");
  if (request.has_usage_chunk && !request.is_streamed) {
    refuse("stream_options", "is for streams; set stream to true or leave it out");
  }
}

}  // namespace

CompletionRequest parse_completion_request(CompletionKind kind, std::string_view body,
                                           const RequestLimits& limits) {
  json document;
  try {
    document = parse_strict_json(body);
  } catch (const DataError& error) {
    throw RequestError(400, fmt::format("the body is not JSON: {}", error.what()),
                       {"", "invalid_json"});
  }
  if (!document.is_object()) refuse_type("body", "an object", document);
  CompletionRequest request;
  request.kind = kind;
  const Readers readers = readers_of(kind, limits);
  const NeutralValues& known = neutral_values(kind);
  for (const auto& [field, value] : document.items()) {
    if (value.is_null() || is_for_the_record(field)) continue;
    const auto reader = readers.find(field);
    const auto neutral = known.find(field);
    if (reader != readers.end()) {
      reader->second(field, value, request);
    } else if (neutral == known.end()) {
      refuse_unknown(field, readers);
    } else if (std::find(neutral->second.begin(), neutral->second.end(), value) ==
               neutral->second.end()) {
      refuse_unserved(field, value, neutral->second);
    }
  }
  check_whole(request);
  return request;
}

}  // namespace molora
