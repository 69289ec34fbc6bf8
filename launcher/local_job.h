// Starting the ranks of a job on this machine: `molora train --ranks N` runs mpirun itself, so that
// nobody has to know its options, and so that Ctrl-C means "save and leave" (mpirun alone would
// kill the ranks a second later).
#pragma once

#include <string>
#include <utility>
#include <vector>

namespace molora {

struct LocalJob {
  int num_ranks = 1;
  std::string program;                 // path of the executable that each rank runs
  std::vector<std::string> arguments;  // of each rank
};

// What is run for a job on a machine with so many cores; a pure function.
struct JobCommand {
  std::vector<std::string> words;                                // words[0] is found on PATH
  std::vector<std::pair<std::string, std::string>> environment;  // added where not set already
};
JobCommand job_command(const LocalJob& job, int num_cores);

// Runs the job and waits for it; returns its exit code (128 + n when signal n ended it).
//
// Signals while it runs: the first INT or TERM asks every rank to save and leave (they get USR1);
// the second ends them at once. USR1 and USR2 are passed on. The ranks end when this process dies.
// Throws: IoError when mpirun cannot be started.
int run_local_job(const LocalJob& job);

}  // namespace molora
