// What a tokenizer file looks for in a text: a fixed string or a regular expression.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "tokenizer/json_at.h"
#include "tokenizer/regex.h"

namespace molora {

// Immutable; may be used from several threads at once.
class TextPattern {
 public:
  // {"String": "..."} or {"Regex": "..."}. Throws: DataError.
  explicit TextPattern(const JsonAt& json);
  // REQUIRES: not empty.
  explicit TextPattern(std::string fixed) : what_(std::move(fixed)) {}
  explicit TextPattern(Regex regex) : what_(std::move(regex)) {}

  // As Regex::find_all().
  std::vector<Span> find_all(std::string_view text) const;

  // `text` with every match replaced by `content`.
  std::string replace_all(std::string_view text, std::string_view content) const;

  // The fixed string; empty for a regular expression.
  std::string_view fixed_string() const;

 private:
  std::variant<std::string, Regex> what_;
};

}  // namespace molora
