// `molora export` as its user starts it: one process writes, another one loads what was written.
#pragma once

#include <string>
#include <vector>

#include "worker/commands.h"

namespace molora {

// words: program and arguments of the export. Returns the exit code of the first of the two
// processes that failed, or 0. A folder whose logits are not the run's is renamed to end with
// ".refused".
// Throws: IoError when a process cannot be started.
int run_checked_export(const ExportArguments& arguments, std::vector<std::string> words);

}  // namespace molora
