#include "tokenizer/regex.h"

#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "tokenizer/regex_dialect.h"
#include "tokenizer/unicode_versions.h"
#include "tokenizer/utf8.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace molora {

namespace {

// Enough for any sane expression on a text of many megabytes, few seconds at most.
constexpr uint32_t kMatchLimit = 50'000'000;
constexpr uint32_t kHeapLimitKiB = 256 * 1024;

struct Free {
  void operator()(pcre2_code* code) const { pcre2_code_free(code); }
  void operator()(pcre2_match_data* data) const { pcre2_match_data_free(data); }
  void operator()(pcre2_match_context* context) const { pcre2_match_context_free(context); }
  void operator()(pcre2_compile_context* context) const { pcre2_compile_context_free(context); }
};
template <typename T>
using Owned = std::unique_ptr<T, Free>;

std::string pcre_message(int code) {
  std::array<PCRE2_UCHAR, 256> text{};
  pcre2_get_error_message(code, text.data(), text.size());
  return reinterpret_cast<const char*>(text.data());
}

}  // namespace

struct Regex::Code {
  Owned<pcre2_code> code;
  Owned<pcre2_match_context> context;
};

Regex::Regex(std::string_view pattern, const std::string& where)
    : pattern_(pattern), where_(where) {
  const std::string difference = regex_difference(pattern);
  if (!difference.empty()) {
    throw DataError(fmt::format("{}: the regular expression {} uses {}, which is not supported",
                                where, pattern, difference));
  }
  const Owned<pcre2_compile_context> compile(pcre2_compile_context_create(nullptr));
  pcre2_set_newline(compile.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE offset = 0;
  auto code = std::make_shared<Code>();
  code->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &error, &offset,
                                 compile.get()));
  if (code->code == nullptr) {
    throw DataError(fmt::format("{}: the regular expression {} is wrong at byte {}: {}", where,
                                pattern, offset, pcre_message(error)));
  }
  // Without a compiler for this machine the expression is interpreted: the same, but slower.
  pcre2_jit_compile(code->code.get(), PCRE2_JIT_COMPLETE);
  code->context.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(code->context.get(), kMatchLimit);
  pcre2_set_heap_limit(code->context.get(), kHeapLimitKiB);
  code_ = std::move(code);
}

std::vector<Span> Regex::find_all(std::string_view text) const {
  std::string buffer;
  const std::string_view subject = with_known_classes(text, buffer);
  const Owned<pcre2_match_data> match(pcre2_match_data_create(1, nullptr));
  const auto search = [&](size_t from, uint32_t options) {
    return pcre2_match(code_->code.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()),
                       subject.size(), from, PCRE2_NO_UTF_CHECK | options, match.get(),
                       code_->context.get());
  };

  std::vector<Span> spans;
  size_t from = 0;
  while (from <= subject.size()) {
    int result = search(from, 0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT) result = search(from, PCRE2_NO_JIT);
    if (result == PCRE2_ERROR_NOMATCH) break;
    if (result < 0) {
      throw DataError(fmt::format("{}: the regular expression {} failed on a text of {} bytes: {}",
                                  where_, pattern_, text.size(), pcre_message(result)));
    }
    const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(match.get());
    const Span span{offsets[0], offsets[1]};
    if (span.begin == span.end && !spans.empty() && spans.back().end == span.end) {
      from += from < subject.size() ? code_point_at(subject, from).bytes : 1;
      continue;
    }
    spans.push_back(span);
    from = span.end;
  }
  return spans;
}

}  // namespace molora
