#include "tokenizer/script.h"

#include <algorithm>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "base/check.h"
#include "tokenizer/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace molora {

namespace {

struct Script {
  const char* name;
  const char* letters;  // a regular expression for one of them
  int64_t weight;
};
constexpr const char kAnyLetter[] = ".";
constexpr size_t kHan = 0;
constexpr size_t kKana = 1;
// Last what is none of those before.
constexpr Script kScripts[] = {
    {"han", R"(\p{Han})", 3},
    {"kana", R"([\p{Hiragana}\p{Katakana}])", 3},
    {"hangul", R"(\p{Hangul})", 3},
    {"latin", R"(\p{Latin})", 1},
    {"cyrillic", R"(\p{Cyrillic})", 1},
    {"arabic", R"(\p{Arabic})", 1},
    {"devanagari", R"(\p{Devanagari})", 1},
    {"thai", R"(\p{Thai})", 1},
    {"greek", R"(\p{Greek})", 1},
    {"hebrew", R"(\p{Hebrew})", 1},
    {"other", kAnyLetter, 1},
};
// Japanese is written in Han too, with this part of kana at least; Chinese has none.
constexpr int64_t kLeastKanaPercent = 10;

// One group for each script, in their order. Newer versions of PCRE2 count punctuation that several
// scripts share as of each of them: letters only.
class Letters {
 public:
  Letters() {
    std::string pattern;
    for (const Script& script : kScripts) {
      pattern +=
          fmt::format(R"({}((?:(?=\p{{L}}){}){}))", pattern.empty() ? "" : "|", script.letters,
                      std::string_view(script.letters) == kAnyLetter ? "" : "++");
    }
    int error = 0;
    PCRE2_SIZE offset = 0;
    code_.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                              PCRE2_UTF | PCRE2_UCP | PCRE2_DOTALL, &error, &offset, nullptr));
    MOLORA_CHECK(code_ != nullptr, "{} is wrong at byte {}", pattern, offset);
    // Without a compiler for this machine it is interpreted: the same, but slower.
    pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);
  }

  // REQUIRES: well-formed UTF-8. Calls found(script, bytes of letters) from front to back.
  template <typename Found>
  void find(std::string_view text, const Found& found) const {
    const std::unique_ptr<pcre2_match_data, Free> match(
        pcre2_match_data_create_from_pattern(code_.get(), nullptr));
    size_t from = 0;
    while (from < text.size()) {
      const int groups = pcre2_match(code_.get(), reinterpret_cast<PCRE2_SPTR>(text.data()),
                                     text.size(), from, PCRE2_NO_UTF_CHECK, match.get(), nullptr);
      if (groups == PCRE2_ERROR_NOMATCH) return;
      MOLORA_CHECK(groups >= 2, "a search of {} bytes for letters ended with {}", text.size(),
                   groups);
      const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(match.get());
      found(static_cast<size_t>(groups) - 2, text.substr(offsets[0], offsets[1] - offsets[0]));
      from = offsets[1];
    }
  }

 private:
  struct Free {
    void operator()(pcre2_code* code) const { pcre2_code_free(code); }
    void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  };
  std::unique_ptr<pcre2_code, Free> code_;
};

int64_t num_characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace

void ScriptCounter::add(std::string_view text) {
  static_assert(std::size(kScripts) == kNumScripts);
  static const Letters letters;
  std::string buffer;
  letters.find(repaired_utf8(text, buffer), [this](size_t script, std::string_view run) {
    letters_.at(script) += kScripts[script].weight * num_characters(run);
  });
}

std::string_view ScriptCounter::most() const {
  std::array<int64_t, kNumScripts> counts = letters_;
  const int64_t both = counts[kHan] + counts[kKana];
  if (100 * counts[kKana] >= kLeastKanaPercent * both) {
    counts[kKana] = both;
    counts[kHan] = 0;
  }
  const auto most = std::max_element(counts.begin(), counts.end());
  if (*most == 0) return kScripts[kNumScripts - 1].name;
  return kScripts[static_cast<size_t>(most - counts.begin())].name;
}

}  // namespace molora
