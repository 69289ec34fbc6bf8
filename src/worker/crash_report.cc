#include "worker/crash_report.h"

#include <execinfo.h>
#include <signal.h>
#include <unistd.h>

#include <array>
#include <string_view>
#include <vector>

namespace molora {

namespace {

constexpr int kMaxFrames = 64;

std::string_view name_of(int signal) {
  switch (signal) {
    case SIGSEGV:
      return "SIGSEGV (memory that is not there)";
    case SIGBUS:
      return "SIGBUS (memory or a mapped file that has gone away)";
    case SIGFPE:
      return "SIGFPE (arithmetic)";
    case SIGILL:
      return "SIGILL (an instruction that this processor does not have)";
    default:
      return "SIGABRT (abort)";
  }
}

void say(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

// Only calls that are safe in a handler; backtrace() was called once before, so it loads nothing.
extern "C" void on_crash(int signal) {
  say("molora: crashed by ");
  say(name_of(signal));
  say("; stack of the thread:\n");
  std::array<void*, kMaxFrames> frames{};
  const int depth = ::backtrace(frames.data(), kMaxFrames);
  ::backtrace_symbols_fd(frames.data(), depth, STDERR_FILENO);
  ::raise(signal);  // the handler was taken away (SA_RESETHAND)
}

}  // namespace

void install_crash_report() {
  std::array<void*, 1> frame{};
  ::backtrace(frame.data(), 1);
  // A stack of its own: the usual one may be what overflowed.
  static std::vector<char> stack(size_t{1} << 16);
  stack_t alternative{};
  alternative.ss_sp = stack.data();
  alternative.ss_size = stack.size();
  ::sigaltstack(&alternative, nullptr);
  struct sigaction action {};
  action.sa_handler = on_crash;
  action.sa_flags = static_cast<int>(SA_RESETHAND) | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  for (const int signal : std::array{SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace molora
