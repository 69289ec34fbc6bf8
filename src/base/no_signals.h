// Starting threads that take no signals.
#pragma once

#include <signal.h>

namespace molora {

// While it lives, the calling thread takes no signals, and a thread that it starts never will: a
// new thread inherits the mask. Signals are for the thread that started the program.
class NoSignals {
 public:
  NoSignals() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  ~NoSignals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  NoSignals(const NoSignals&) = delete;
  NoSignals& operator=(const NoSignals&) = delete;
  NoSignals(NoSignals&&) = delete;
  NoSignals& operator=(NoSignals&&) = delete;

 private:
  sigset_t before_{};
};

}  // namespace molora
