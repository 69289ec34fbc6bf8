// `molora train` started plainly: starts the ranks, watches them, says what became of them, and
// starts them again from the newest checkpoint where that can help (launcher/README.md).
#pragma once

#include <string>
#include <vector>

#include "launcher/launch_options.h"
#include "run_config.pb.h"

namespace molora {

struct SupervisedJob {
  RunConfig config;  // resolved; output_dir is where reason.json and logs/ go
  LaunchOptions options;
  // What each rank runs: words[0] is the path of the program. `--resume auto` takes the place of
  // any --resume from the second start on.
  std::vector<std::string> program_and_arguments;
  bool is_terminal = false;  // standard error is one: progress bars are drawn
};

// Runs the job to its end and returns the exit code for main(): 0 done, 75 stopped on request after
// a save, otherwise that of the reason, which is the last line of the log and in reason.json.
//
// Signals while it runs: the first INT or TERM, and each USR1 or USR2, asks the ranks to save and
// leave; the second INT or TERM ends them, the third at once. After the first nothing is started
// again. The ranks end when this process dies. No process and no shared memory of the job is left
// on any host when it returns.
// Throws: ConfigError when no plan fits, before anything was started.
int run_supervised(const SupervisedJob& job);

}  // namespace molora
