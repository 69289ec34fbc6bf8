// What a tokenizer file does to a text before it is cut into words.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "tokenizer/json_at.h"
#include "tokenizer/text_pattern.h"

namespace molora {

// Immutable; may be used from several threads at once.
class Normalizer {
 public:
  // Leaves every text as it is.
  Normalizer() = default;
  // The `normalizer` of a tokenizer.json. Throws: DataError, also for kinds that are not supported.
  explicit Normalizer(const JsonAt& json);

  // The normalized text: a view of `text` when nothing changes, else of `buffer`.
  // REQUIRES: well-formed UTF-8 outside of `buffer`.
  std::string_view apply(std::string_view text, std::string& buffer) const;

  // Whether the first character of the result always stands for the first one of the text.
  bool keeps_beginning() const;

  enum class Form { kNfc, kNfd, kNfkc, kNfkd };

 private:
  struct Prepend {
    std::string text;
  };
  struct Replace {
    TextPattern pattern;
    std::string content;
  };
  struct Strip {
    bool left = false;
    bool right = false;
  };
  using Step = std::variant<Form, Prepend, Replace, Strip>;

  void parse(const JsonAt& json, int depth);
  std::optional<std::string> changed(std::string_view text, const Step& step) const;

  std::vector<Step> steps_;
};

// By how much a replacement may lengthen a text, at most: files whose replacements multiply a text
// by more than kMaxGrowth are refused, since a short text would not fit in memory.
inline constexpr size_t kMaxGrowth = 1024;
size_t replacement_growth(const TextPattern& pattern, std::string_view content);

}  // namespace molora
