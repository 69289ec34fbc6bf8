// Everything that `molora verify` says: what is wrong with which checkpoint, and which one a run
// would go on from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint/checkpoint_listing.h"
#include "checkpoint/verify.h"
#include "io/file_system.h"

namespace molora {

struct VerifiedStep {
  std::filesystem::path folder;
  Verification found;
  double seconds = 0;  // that it took
};

struct VerifyReport {
  CheckpointListing listing;
  std::vector<VerifiedStep> steps;  // of the listing, in its order

  // At least one, and all of them.
  bool are_whole() const;
  // The newest whole one, which checkpoint.resume: auto takes; nothing when there is none.
  std::optional<int64_t> step_to_resume() const;
};

// Reads every byte of a step folder.
VerifiedStep verify_step(FileSystem& files, const std::filesystem::path& folder);

// One line when it is whole; else one for each damage, up to a number that people read.
std::string verified_step_text(const VerifiedStep& step);

// What else lies in the folder and what a run would do; empty for a single step folder.
std::string closing_text(const VerifyReport& report);

// All damages, with numbers.
nlohmann::json verify_json(const VerifyReport& report);

}  // namespace molora
