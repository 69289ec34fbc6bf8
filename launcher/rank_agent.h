// The agent beside each worker: a small process that knows how the worker is, whatever happens to
// it, and ends it when nobody is left who would (launcher/README.md).
//
// The agent is what mpirun, srun or the supervisor has started; the worker is its child, forked
// before MPI, and does everything else. The agent uses no MPI and no LibTorch, so what stops or
// breaks the worker does not touch it.
//   - Started by the supervisor of `molora train` (MOLORA_SUPERVISOR is set), it relays what the
//     worker prints, reports how it is every second and does what the supervisor says.
//   - Started by a user's own mpirun or srun, it holds the worker to its deadlines by itself and
//     writes reason.json into the run's folder.
// The worker ends with the agent (SIGKILL), and the agent leaves with the worker's exit code, or
// 128 + n when signal n ended it.
//
// Signals USR1, USR2, INT, TERM, HUP and CONT that reach the agent are passed on to the worker with
// kill(2): the worker tells them from what it got directly (Slurm signals every process of a step)
// by siginfo's si_pid == getppid(), so that one request does not count twice.
#pragma once

#include <memory>

#include "watch/black_box.h"

namespace molora {

// To be called by main() before it starts threads or MPI, in a process that is a rank under a
// launcher. Forks; returns in the worker only, with its black box, which is bound to the calling
// thread and knows the rank that the launcher has given. The agent never returns from here.
//
// The worker has a process group of its own, the signal mask of before, and, under a supervisor,
// pipes as standard output and standard error.
// Throws: IoError when there is no memory, pipe or process to be had.
std::unique_ptr<BlackBox> become_worker();

// Whether this process was started by a supervisor (then it is a rank, also without MPI).
bool has_supervisor();

}  // namespace molora
