// How urgently the owner of a run wants it to stop, from the signals that came to the supervisor.
#pragma once

#include <signal.h>

namespace molora {

class StopRequest {
 public:
  // INT and TERM count up; USR1, USR2 and HUP (the terminal is gone) ask once. Others do nothing.
  void take(int signal) {
    const bool asks = signal == SIGINT || signal == SIGTERM;
    if (!asks && signal != SIGUSR1 && signal != SIGUSR2 && signal != SIGHUP) return;
    signal_ = signal;
    is_asked_ = true;
    if (asks) ++num_asked_;
  }

  bool is_asked() const { return is_asked_; }        // save and leave
  bool is_urgent() const { return num_asked_ > 1; }  // end the ranks
  bool is_last() const { return num_asked_ > 2; }    // without waiting for them
  int signal() const { return signal_; }             // the latest

 private:
  bool is_asked_ = false;
  int num_asked_ = 0;
  int signal_ = 0;
};

}  // namespace molora
