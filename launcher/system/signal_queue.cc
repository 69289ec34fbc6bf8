#include "launcher/system/signal_queue.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

SignalQueue::SignalQueue(std::span<const int> signals) {
  sigset_t watched;
  sigemptyset(&watched);
  for (const int signal : signals) sigaddset(&watched, signal);
  const int error = ::pthread_sigmask(SIG_BLOCK, &watched, &before_);
  if (error != 0) throw IoError(fmt::format("signals cannot be blocked: {}", std::strerror(error)));
  descriptor_ = FileDescriptor(::signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
  if (descriptor_) return;
  const int reason = errno;
  ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
  throw IoError(fmt::format("no signalfd: {}", std::strerror(reason)));
}

SignalQueue::~SignalQueue() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

std::optional<int> SignalQueue::next() {
  signalfd_siginfo info{};
  const ssize_t count = ::read(descriptor_.get(), &info, sizeof info);
  if (count != static_cast<ssize_t>(sizeof info)) return std::nullopt;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace molora
