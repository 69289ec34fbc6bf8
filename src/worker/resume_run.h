// A run taken up where a checkpoint left it.
#pragma once

#include <filesystem>
#include <optional>

#include "checkpoint/checkpoint_saver.h"
#include "comm/mesh.h"
#include "config/resume_changes.h"
#include "model/adapter.h"
#include "model/expert_way.h"
#include "train/adamw.h"

namespace molora {

// Before anything large is read: lists what changed in the configuration since the checkpoint, and
// refuses changes that make it another run unless they are allowed. Returns which way the
// checkpoint's experts were computed, where it says so and still has the run's. Collective.
// Throws on every rank: ConfigError, CheckpointError.
std::optional<ExpertWays> check_changes(const std::filesystem::path& step_folder,
                                        const RunConfig& config, ChangePolicy policy,
                                        Communicator& world);

struct ResumeParts {
  AdapterSet& adapters;
  AdamW& optimizer;
  const Mesh& mesh;
  Communicator& world;
};

// Loads adapters, moments and progress into the parts, each rank what it holds. Collective.
// Throws on every rank: ConfigError when the base model (both fingerprints), or without permission
// the data, are not those of the checkpoint; CheckpointError when a tensor does not fit. Nothing is
// to be used then.
Progress resume_run(const std::filesystem::path& step_folder, const CheckpointIdentity& identity,
                    ChangePolicy policy, const ResumeParts& parts);

}  // namespace molora
