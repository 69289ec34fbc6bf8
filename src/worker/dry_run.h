// `molora train --dry-run`: everything that can be known before the first step.
#pragma once

#include "base/error.h"
#include "comm/communicator.h"
#include "run_config.pb.h"

namespace molora {

// Reads the model's config.json, the tokenizer and all the data (into a temporary folder that it
// removes), checks them as a run would, and prints the resolved configuration, the parameter
// counts, the memory of one rank and what would run. Nothing is written to output_dir. Collective;
// rank 0 does the work.
ExitCode run_dry(const RunConfig& config, Communicator& world);

}  // namespace molora
