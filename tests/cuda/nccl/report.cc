#include "report.h"

#include <unistd.h>

#include <cstdlib>

#include <fmt/format.h>

namespace molora::fake_nccl {

void say(const std::string& text) {
  const std::string line = fmt::format("fake nccl: {}\n", text);
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;  // nobody listens
}

void stop(const std::string& text) {
  say(text);
  std::abort();
}

const char*& current_call() {
  thread_local const char* call = "a call";
  return call;
}

}  // namespace molora::fake_nccl

// Called by the stand-ins that the build writes for every call of the real library that is not
// here.
extern "C" [[noreturn]] void fake_nccl_refuse(const char* name) {
  molora::fake_nccl::stop(fmt::format(
      "{} is not part of the fake NCCL: do without it, or add it to tests/cuda/nccl", name));
}
