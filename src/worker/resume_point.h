// From which checkpoint a command goes on, decided together.
#pragma once

#include <filesystem>
#include <string>

#include "comm/communicator.h"

namespace molora {

// The step folder to go on from for this value of checkpoint.resume, equal on every rank; empty to
// start afresh. `auto`: the newest valid one of the run, with a warning for each damaged one passed
// over, which is put aside. A path: that checkpoint, or the newest valid one of that run. All ranks
// check the files, each its share. Collective.
// Throws on every rank: ConfigError when `none`, or a path to anything but the newest checkpoint of
// the run, would write into a folder that holds checkpoints; CheckpointError when a path holds none
// or a damaged one, or when `auto` finds only damaged ones.
std::filesystem::path find_resume_point(const std::string& resume,
                                        const std::filesystem::path& root, Communicator& world);

// The newest valid step folder of a run folder, or the step folder itself, checked. Collective.
// Throws on every rank: CheckpointError naming what is damaged or missing.
std::filesystem::path valid_step_folder(const std::filesystem::path& path, Communicator& world);

}  // namespace molora
