// JSON parsed strictly: valid UTF-8, no key twice in an object, no deep nesting.
#pragma once

#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

namespace molora {

constexpr int kMaxJsonDepth = 64;

// The value of `text`. Throws: DataError with the reason and the byte, without file and line.
nlohmann::json parse_strict_json(std::string_view text);

// The same for a whole file that must be one object. Throws: DataError that begins with `origin`.
nlohmann::json parse_json_object(std::string_view text, const std::string& origin);

// The beginning of `text` in quotes and escaped, for messages; always ASCII.
std::string json_excerpt(std::string_view text);

}  // namespace molora
