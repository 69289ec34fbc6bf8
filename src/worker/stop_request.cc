#include "worker/stop_request.h"

#include <signal.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string_view>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

// A signal handler has nothing else to talk to.
std::atomic<bool> stop_requested{false};
std::atomic<bool> was_asked_by_agent{false};
std::atomic<bool> was_asked_by_others{false};
std::atomic<bool> is_silent{false};
std::atomic<bool> is_terminal{false};
static_assert(std::atomic<bool>::is_always_lock_free);

void say(std::string_view text) {
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

// A terminal may be in the middle of a progress line.
void start_line() {
  if (is_terminal) say("\n");
}

extern "C" void on_stop_signal(int signal, siginfo_t* info, void*) {
  const int saved_errno = errno;
  const bool is_from_agent = info->si_pid == ::getppid();
  std::atomic<bool>& was_asked = is_from_agent ? was_asked_by_agent : was_asked_by_others;
  const bool is_repeated = was_asked.exchange(true);
  const bool is_second = stop_requested.exchange(true);
  if (is_repeated && (signal == SIGINT || signal == SIGTERM)) {
    start_line();
    say("molora: asked twice, leaving at once; the last checkpoint stands\n");
    ::_exit(128 + signal);
  }
  // TERM through the agent is how mpirun takes ranks down when one of them is lost: nobody asked.
  if (!is_second && !is_silent && !(is_from_agent && signal == SIGTERM)) {
    start_line();
    say("molora: asked to stop: saving after this step (again: leave at once)\n");
  }
  errno = saved_errno;
}

}  // namespace

void install_stop_handlers(StopNotice notice) {
  is_silent = notice == StopNotice::kSilent;
  is_terminal = ::isatty(STDERR_FILENO) == 1;
  struct sigaction action {};
  action.sa_sigaction = on_stop_signal;
  sigemptyset(&action.sa_mask);
  action.sa_flags = SA_RESTART | SA_SIGINFO;
  for (const int signal : std::array{SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) {
    if (::sigaction(signal, &action, nullptr) != 0) {
      throw InternalError(
          fmt::format("signal {} cannot be handled: {}", signal, std::strerror(errno)));
    }
  }
}

bool is_stop_requested() { return stop_requested.load(); }

}  // namespace molora
