// What each kind of fault means for the run: exit code, whether a restart can help, words.
#pragma once

#include "base/error.h"
#include "supervision.pb.h"

namespace molora {

ExitCode exit_code_of(FaultKind fault);

// Never restarted: the same start would come to the same end.
bool is_permanent(FaultKind fault);

// "hang", "out of memory", ...; as in reason.json's readers and logs.
const char* fault_text(FaultKind fault);
// "start", "load", "step", ...
const char* phase_text(Phase phase);

// Of an exception that a rank is about to leave by.
FaultKind fault_of(const std::exception& error);

}  // namespace molora
