#include "config/scalar_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <system_error>

#include <fmt/format.h>

namespace molora {

namespace {

std::string mismatch(const YamlNode& node, std::string_view expected) {
  return fmt::format("expected {}, got {}", expected, shown(node));
}

bool is_plain(const YamlNode& node) { return node.is_scalar() && !node.is_quoted; }

// The text without a leading plus sign, which std::from_chars does not take.
std::string_view unsigned_text(const std::string& text) {
  std::string_view rest = text;
  if (rest.size() > 1 && rest[0] == '+' && rest[1] != '-') rest.remove_prefix(1);
  return rest;
}

bool is_yaml_non_finite(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return text == ".nan" || text == ".inf" || text == "+.inf" || text == "-.inf";
}

}  // namespace

ScalarValue<uint64_t> read_whole_number(const YamlNode& node, uint64_t max) {
  if (!is_plain(node)) return {0, mismatch(node, "a whole number")};
  const std::string_view text = unsigned_text(node.text);
  const char* const end = text.data() + text.size();
  uint64_t value = 0;
  const auto [rest, code] = std::from_chars(text.data(), end, value);
  const bool is_too_large = code == std::errc::result_out_of_range || value > max;
  if (rest == end && is_too_large) {
    return {0, mismatch(node, fmt::format("a whole number of at most {}", max))};
  }
  if (rest == end && code == std::errc()) return {value, ""};
  const bool is_negative = text.size() > 1 && text[0] == '-' &&
                           text.find_first_not_of("0123456789", 1) == std::string_view::npos;
  return {0,
          mismatch(node, is_negative ? "a whole number that is not negative" : "a whole number")};
}

ScalarValue<double> read_number(const YamlNode& node) {
  if (!is_plain(node)) return {0, mismatch(node, "a number")};
  const std::string_view text = unsigned_text(node.text);
  const char* const end = text.data() + text.size();
  double value = 0;
  const auto [rest, code] = std::from_chars(text.data(), end, value);
  const bool is_read = rest == end && code == std::errc();
  if (rest == end && code == std::errc::result_out_of_range) {
    return {0, mismatch(node, "a number within the range of a double")};
  }
  if (is_yaml_non_finite(node.text) || (is_read && !std::isfinite(value))) {
    return {0, mismatch(node, "a finite number")};
  }
  if (!is_read) return {0, mismatch(node, "a number")};
  return {value, ""};
}

ScalarValue<bool> read_flag(const YamlNode& node) {
  if (is_plain(node) && node.text == "true") return {true, ""};
  if (is_plain(node) && node.text == "false") return {false, ""};
  return {false, mismatch(node, "true or false")};
}

ScalarValue<std::string> read_text(const YamlNode& node) {
  if (node.is_null()) return {"", mismatch(node, "text") + "; write \"\" for an empty one"};
  if (!node.is_scalar()) return {"", mismatch(node, "text")};
  if (node.text.find('\0') != std::string::npos) {
    return {"", mismatch(node, "text without the character NUL")};
  }
  return {node.text, ""};
}

}  // namespace molora
