// Marks at the beginning of a line of standard error that a supervisor reads
// (launcher/supervise/log_relay.h).
#pragma once

namespace molora {

// The progress line as it is now: drawn on the supervisor's terminal, in no file.
inline constexpr char kRelayedProgress[] = "\x1fp";
// For the rank's file, not for the terminal.
inline constexpr char kRelayedToFileOnly[] = "\x1fq";

}  // namespace molora
