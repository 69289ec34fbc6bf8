// Whether bytes may be given to the YAML parser at all: a size, plain text, UTF-8.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace molora {

inline constexpr size_t kMaxConfigBytes = size_t{1} << 20;

struct TextFault {
  int line = 0;  // 0: the text as a whole
  std::string what;
};

// The first reason not to read `text` as a configuration: longer than kMaxConfigBytes, a control
// character other than tab and line ends, or bytes that are not UTF-8 (RFC 3629).
std::optional<TextFault> find_text_fault(std::string_view text);

}  // namespace molora
