// What a path that a user gives has of checkpoints: a run folder, its checkpoints folder, or one
// step folder. Names only; nothing is opened but the hint `latest`.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "io/file_system.h"

namespace molora {

struct CheckpointListing {
  // The folder that the steps lie in; empty when the path is one step folder.
  std::filesystem::path root;
  std::vector<std::filesystem::path> steps;  // committed ones, newest first
  // Names in `root` that are no checkpoints:
  std::vector<std::string> attempts;   // did not commit; the next start of the run removes them
  std::vector<std::string> put_aside;  // damaged ones that a resume passed over
  std::string latest;                  // what the hint says; "" when there is none

  bool is_one_step() const { return root.empty(); }
};

// Throws: CheckpointError when there is no checkpoint, not even a damaged one or an attempt;
// IoError.
CheckpointListing list_checkpoints(FileSystem& files, const std::filesystem::path& path);

}  // namespace molora
