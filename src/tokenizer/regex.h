// Regular expressions of tokenizer files, by PCRE2, matched as the reference library's engine
// (Oniguruma) matches them.
//
// The two engines agree on what tokenizer files use: characters, classes, \s \d \p{..}, groups,
// look-around, repeats. What they read differently (\w, \h, ^, nested classes, script names, ...)
// is refused when the expression is compiled.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

// Bytes [begin, end) of a text.
struct Span {
  size_t begin = 0;
  size_t end = 0;
};

// Immutable; may be used from several threads at once.
class Regex {
 public:
  // `where` names the file and the field in messages. Throws: DataError.
  Regex(std::string_view pattern, const std::string& where);

  // Every match from front to back. No match begins before the end of the one before, and an empty
  // match never follows a match directly. REQUIRES: well-formed UTF-8.
  // Throws: DataError when the expression needs more backtracking than is allowed.
  std::vector<Span> find_all(std::string_view text) const;

 private:
  struct Code;
  std::shared_ptr<const Code> code_;
  std::string pattern_;
  std::string where_;
};

}  // namespace molora
