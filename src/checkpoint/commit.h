// Making the parts that all ranks wrote a checkpoint: the coordinator's file work.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint.pb.h"
#include "coordination.pb.h"
#include "io/file_system.h"

namespace molora {

// An attempt of which every part is on the device.
struct FinishedAttempt {
  std::filesystem::path root;
  std::string attempt;
  // Everything but files and tensors; its progress says the step.
  CheckpointManifest manifest;
  std::vector<PartRecord> parts;            // by rank
  std::vector<std::string> expected_names;  // of the tensors that must be in them
};

// Writes the manifest and renames the folder, which is the commit: before it the step is not there,
// after it the step is there for good. A step that is there already stays when it is valid and is
// put aside when it is damaged.
// Throws: IoError; CheckpointError also when the parts do not hold every element of every expected
// tensor once. Then nothing was committed.
void commit(FileSystem& files, const FinishedAttempt& finished);

// Points the hint `latest` at a step.
void write_latest(FileSystem& files, const std::filesystem::path& root, int64_t step);

}  // namespace molora
