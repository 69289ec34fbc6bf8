// Signals that ask a run to save and leave.
//
// INT (Ctrl-C), TERM, USR1 and USR2: the first asks the run to finish its step, save and leave with
// exit code 75; a second INT or TERM leaves at once with 128 + the signal's number. The same
// request may arrive twice, from the agent beside this process (launcher/rank_agent.h) and from a
// process manager that signals every process: a second one counts only when it comes from the same
// side as the first. Under mpirun the launcher's own Ctrl-C handling sends TERM to every rank and
// KILL a moment later, so Slurm jobs should ask with USR1 (README, "Stopping a run").
#pragma once

namespace molora {

// Whether this process tells the person that the first request has arrived; one rank is enough.
enum class StopNotice { kSay, kSilent };

// Installs the handlers for the life of the process. Call once, before other threads start.
// Throws: InternalError.
void install_stop_handlers(StopNotice notice);

// Whether a signal has asked this process to stop. Async-signal-safe, any thread.
bool is_stop_requested();

}  // namespace molora
