// MOLORA_CHECK: invariants of our own code, on in every build, with both values in the message.
#pragma once

#include <string>
#include <type_traits>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"

namespace molora::internal {

// Throws InternalError "file:line: check failed: expression (detail)".
[[noreturn]] void check_failed(const char* file, int line, const char* expression,
                               const std::string& detail);

template <typename... Args>
std::string check_detail(fmt::format_string<Args...> format, Args&&... args) {
  return fmt::format(format, std::forward<Args>(args)...);
}
inline std::string check_detail() { return {}; }

// Integers are compared by value, whatever their signs and widths.
template <typename A, typename B>
bool equal(const A& a, const B& b) {
  constexpr bool kIntegers = std::is_integral_v<A> && std::is_integral_v<B> &&
                             !std::is_same_v<A, bool> && !std::is_same_v<B, bool>;
  if constexpr (kIntegers) {
    return std::cmp_equal(a, b);
  } else {
    return a == b;
  }
}

template <typename A, typename B, typename Detail>
void check_equal(const char* file, int line, const char* expression, const A& a, const B& b,
                 const Detail& detail) {
  if (!equal(a, b)) [[unlikely]] {
    check_failed(file, line, expression, fmt::format("{} against {} {}", a, b, detail()));
  }
}

}  // namespace molora::internal

// MOLORA_CHECK(condition) or MOLORA_CHECK(condition, "rows {}", rows).
#define MOLORA_CHECK(condition, ...)                                                   \
  do {                                                                                 \
    if (!(condition)) [[unlikely]]                                                     \
      ::molora::internal::check_failed(__FILE__, __LINE__, #condition,                 \
                                       ::molora::internal::check_detail(__VA_ARGS__)); \
  } while (false)

// MOLORA_CHECK_EQ(a, b) or with a message; both operands are evaluated once and printed.
#define MOLORA_CHECK_EQ(a, b, ...)                                            \
  ::molora::internal::check_equal(__FILE__, __LINE__, #a " == " #b, (a), (b), \
                                  [&] { return ::molora::internal::check_detail(__VA_ARGS__); })
