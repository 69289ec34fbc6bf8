// What a worker says when the system ends it for a fault of its own: the signal and where it was.
#pragma once

namespace molora {

// Installs handlers for the signals of crashes (SEGV, BUS, FPE, ILL, ABRT): each prints the stack
// of its thread to standard error, as addresses that `addr2line` reads, and then lets the signal
// end the process. Call once.
void install_crash_report();

}  // namespace molora
