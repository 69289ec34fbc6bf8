// Prints what the fake device has seen and who called.
#pragma once

#include <string>

namespace molora::fake_torch {

// Prints "fake torch: <what>" and the stack on stderr, once for each stack. Thread-safe.
void report_with_stack(const std::string& what);

}  // namespace molora::fake_torch
