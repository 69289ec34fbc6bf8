#include "io/strict_json.h"

#include <unordered_set>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr size_t kExcerptBytes = 48;
constexpr size_t kReasonBytes = 200;

// Follows the parser and stops it at what it would take but we do not.
class Strictness {
 public:
  bool operator()(int depth, json::parse_event_t event, const json& parsed) {
    switch (event) {
      case json::parse_event_t::object_start:
        seen_.emplace_back();
        check_depth(depth);
        break;
      case json::parse_event_t::array_start:
        check_depth(depth);
        break;
      case json::parse_event_t::object_end:
        seen_.pop_back();
        break;
      case json::parse_event_t::key: {
        const auto& key = parsed.get_ref<const std::string&>();
        if (!seen_.back().insert(key).second) {
          throw DataError(
              fmt::format("expected each key once, got {} twice in one object", json_excerpt(key)));
        }
        break;
      }
      default:
        break;
    }
    return true;
  }

 private:
  static void check_depth(int depth) {
    if (depth >= kMaxJsonDepth) {
      throw DataError(
          fmt::format("expected at most {} levels of nesting, got more", kMaxJsonDepth));
    }
  }

  std::vector<std::unordered_set<std::string>> seen_;
};

// "syntax error while parsing value - invalid literal" out of the parser's message, which also
// holds its own name, a line within the element and a copy of the token.
std::string reason_of(const json::exception& error) {
  std::string what = error.what();
  if (const size_t end = what.find("] "); end != std::string::npos) what.erase(0, end + 2);
  if (const size_t end = what.find(": "); what.rfind("parse error", 0) == 0) what.erase(0, end + 2);
  const size_t token = what.find("; last read: ");
  if (token != std::string::npos) {
    const size_t expected = what.rfind("; expected");
    what = what.substr(0, token) +
           (expected != std::string::npos && expected > token ? what.substr(expected) : "");
  }
  if (what.size() > kReasonBytes) what = what.substr(0, kReasonBytes) + "..";
  return what;
}

}  // namespace

json parse_strict_json(std::string_view text) {
  try {
    return json::parse(text.begin(), text.end(), Strictness());
  } catch (const json::parse_error& error) {
    throw DataError(fmt::format("expected JSON, got at byte {}: {}", error.byte, reason_of(error)));
  } catch (const json::exception& error) {
    throw DataError(fmt::format("expected JSON, got: {}", reason_of(error)));
  }
}

json parse_json_object(std::string_view text, const std::string& origin) {
  json document;
  try {
    document = parse_strict_json(text);
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", origin, error.what()));
  }
  if (!document.is_object()) {
    throw DataError(fmt::format("{}: is not a JSON object: damaged, or not such a file", origin));
  }
  return document;
}

std::string json_excerpt(std::string_view text) {
  const std::string_view head = text.substr(0, kExcerptBytes);
  std::string quoted = json(head).dump(-1, ' ', true, json::error_handler_t::ignore);
  if (head.size() < text.size()) quoted += "..";
  return quoted;
}

}  // namespace molora
