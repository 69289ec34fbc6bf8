// How the fake run time says that a rule of CUDA was broken.
#pragma once

#include <string>

namespace molora::fake_cuda {

// "fake cuda: RULE <rule>: <what>" on stderr, in one piece.
void report(const std::string& rule, const std::string& what);

// The same without a rule, and the end of the process: what cannot be answered is never answered
// with a success.
[[noreturn]] void stop(const std::string& what);

}  // namespace molora::fake_cuda
