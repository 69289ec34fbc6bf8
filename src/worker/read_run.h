// What lies in the folder of a run, for its picture: read without stopping at what is broken.
#pragma once

#include <chrono>
#include <filesystem>

#include "report/run_record.h"

namespace molora {

// Never throws for what is in the folder: what cannot be read is among the record's problems.
// Throws: ConfigError when there is no such folder.
RunRecord read_run(const std::filesystem::path& folder);

// The faults and the latest reason alone, into the record.
void read_faults_of(const std::filesystem::path& folder, RunRecord& record);

// From what the record has of log and reason, and from who holds the folder now: a process of this
// machine that has its lock, or one that has written to metrics.jsonl a moment ago.
RunState state_of(const std::filesystem::path& folder, const RunRecord& record);

}  // namespace molora
