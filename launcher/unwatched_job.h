// Running the ranks of a command that is not watched (`molora eval --ranks N`, `generate`): mpirun
// with this process's own input and output, so that Ctrl-C means "stop" and not more.
#pragma once

#include <string>
#include <vector>

#include "launcher/launch_options.h"
#include "launcher/plan/launch_command.h"

namespace molora {

// Runs the job and waits for it; returns its exit code (128 + n when signal n ended it).
//
// Signals while it runs: the first INT or TERM is passed on to every rank as USR1; the second ends
// them at once. USR1 and USR2 are passed on. The ranks end when this process dies.
// Throws: IoError when the command cannot be started.
int run_unwatched(const LaunchCommand& command);

// The same for ranks of this program, planned as those of a training run without parallelism.
int run_unwatched(const LaunchOptions& options,
                  const std::vector<std::string>& program_and_arguments);

// What `molora train --print-command` shows: the plan, the environment with reasons, the command.
std::string planned_command(const LaunchOptions& options, const ParallelConfig& parallel,
                            const std::vector<std::string>& program_and_arguments);

}  // namespace molora
