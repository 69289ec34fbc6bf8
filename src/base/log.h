// Logging: one spdlog logger for the process, with the rank in every line of a run of many.
//
// Lines go to standard error, so that what a command prints as its result (a generated text, a
// table, a JSON line) stays alone on standard output. Not for use from destructors that may run
// after main(): spdlog is gone by then.
#pragma once

#include <spdlog/spdlog.h>

namespace molora {

enum class LogVerbosity { kQuiet, kNormal, kDebug };

// Where the lines go.
enum class LogReader {
  kPerson,      // ranks other than 0 speak only from warnings on
  kSupervisor,  // all speak; what is for the rank's own file alone is marked (base/relay_mark.h)
};

// Sets the process logger up. With world_size 1 the lines carry no rank. Call once the rank is
// known; calling again replaces the set-up.
void setup_logging(int world_rank, int world_size, LogVerbosity verbosity,
                   LogReader reader = LogReader::kPerson);

// Called before and after each log line is written, so that a progress bar on the same terminal can
// take itself away and come back. One owner at a time; an empty pair removes it.
struct LogLineHooks {
  void (*before)(void* owner) = nullptr;
  void (*after)(void* owner) = nullptr;
  void* owner = nullptr;
};
void set_log_line_hooks(const LogLineHooks& hooks);

}  // namespace molora
