#include "stack_report.h"

#include <cstdio>
#include <mutex>
#include <unordered_set>

#include <c10/util/Backtrace.h>

namespace molora::fake_torch {

void report_with_stack(const std::string& what) {
  static std::mutex mutex;
  static auto* known = new std::unordered_set<std::string>;
  constexpr size_t kThisFunction = 1;
  constexpr size_t kFrames = 60;
  const std::string stack = c10::get_backtrace(kThisFunction, kFrames);
  const std::lock_guard lock(mutex);
  if (!known->insert(stack).second) return;
  std::fprintf(stderr, "fake torch: %s\n%s\n", what.c_str(), stack.c_str());
}

}  // namespace molora::fake_torch
