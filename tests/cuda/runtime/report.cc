#include "report.h"

#include <unistd.h>

#include <cstdlib>

#include <fmt/format.h>

namespace molora::fake_cuda {

namespace {

// One write, so that lines of several processes do not mix.
void say(const std::string& line) {
  if (write(STDERR_FILENO, line.data(), line.size()) < 0) return;  // nobody listens
}

}  // namespace

void report(const std::string& rule, const std::string& what) {
  say(fmt::format("fake cuda: RULE {}: {}\n", rule, what));
}

void stop(const std::string& what) {
  say(fmt::format("fake cuda: {}\n", what));
  std::abort();
}

}  // namespace molora::fake_cuda

// Called by the stand-ins that the build writes for every call of the real library that is not
// here.
extern "C" [[noreturn]] void fake_cuda_refuse(const char* name) {
  molora::fake_cuda::stop(fmt::format(
      "{} is not part of the fake run time: do without it, or add it to tests/cuda/runtime", name));
}
