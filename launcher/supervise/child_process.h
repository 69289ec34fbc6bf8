// A program that this process has started, and everything that came of it.
//
// It has a process group of its own (a Ctrl-C at the terminal reaches us, not it), its output comes
// through pipes, and it is sent TERM when this process dies.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "launcher/plan/launch_command.h"
#include "launcher/system/output_pipe.h"

namespace molora {

class ChildProcess {
 public:
  struct Start {
    LaunchCommand command;
    std::vector<EnvironmentSetting> forced;  // set whether or not the user has set it
    std::vector<std::string> unset;          // variables that it does not get
    bool has_stdin = false;                  // gets our standard input, unless it is a terminal
    sigset_t signal_mask{};
  };
  // Throws: IoError that names the program and the system's reason when it cannot be started.
  explicit ChildProcess(const Start& start);

  OutputPipe& out() { return out_; }
  OutputPipe& err() { return err_; }
  // Its exit code, or 128 + n when signal n ended it; nullopt while it runs. Never blocks.
  std::optional<int> exit_code();
  void signal(int signal);        // REQUIRES: exit_code() is nullopt
  void signal_group(int signal);  // also when it has ended itself

 private:
  pid_t pid_ = -1;
  OutputPipe out_;
  OutputPipe err_;
  std::optional<int> exit_code_;
};

// From now on, processes whose parents have died become children of this one.
void adopt_orphans();

// All processes that descend from this one.
std::vector<pid_t> descendants();

// Sends KILL to every descendant until there is none, for at most so many seconds; returns whether
// none is left. Waits for all children of this process: no other part of it may be waiting for one.
bool kill_descendants(double max_seconds);

}  // namespace molora
