// Whole numbers out of texts that people and other programs write.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string_view>

namespace molora {

// The number that is all of `text`: digits alone, at least `min` and at most `max`.
inline std::optional<int64_t> whole_number(std::string_view text, int64_t min, int64_t max) {
  if (text.empty() || text.front() < '0' || text.front() > '9') return std::nullopt;
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (value < min || value > max) return std::nullopt;
  return value;
}

}  // namespace molora
