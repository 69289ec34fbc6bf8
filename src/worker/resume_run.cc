#include "worker/resume_run.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "checkpoint/expert_surgery.h"
#include "checkpoint/load_checkpoint.h"
#include "checkpoint/manifest.h"
#include "checkpoint/saved_tensors.h"
#include "config/resume_changes.h"
#include "model/architecture_text.h"
#include "parallel/replica_audit.h"
#include "worker/saved_layout.h"
#include "worker/together.h"
#include "worker/training_snapshot.h"

namespace molora {

namespace {

void check_base(const CheckpointManifest& manifest, const CheckpointIdentity& identity,
                const std::filesystem::path& step_folder) {
  if (manifest.base_fingerprint() != identity.base_fingerprint) {
    throw ConfigError(fmt::format(
        "{} was made with another base model: its fingerprint is {}, that of model.path is {}. "
        "Adapters fit only the weights that they were trained on",
        step_folder.string(), manifest.base_fingerprint(), identity.base_fingerprint));
  }
  const std::string difference =
      architecture_difference(manifest.architecture(), identity.architecture);
  if (difference.empty()) return;
  throw ConfigError(fmt::format(
      "{} was made with the same weights in another model: config.json of model.path says {} now. "
      "Adapters fit only the model that they were trained on",
      step_folder.string(), difference));
}

// The progress says which row of the data comes next; of other data that is another row.
void check_data(const CheckpointManifest& manifest, const CheckpointIdentity& identity,
                ChangePolicy policy, bool speaks) {
  if (manifest.data_fingerprint() == identity.data_fingerprint) return;
  const Progress& progress = manifest.progress();
  const std::string what = fmt::format(
      "the training data (or their tokenization) changed since the checkpoint: their fingerprint "
      "was {}, it is {}",
      manifest.data_fingerprint(), identity.data_fingerprint);
  if (policy == ChangePolicy::kRefuse) {
    throw ConfigError(what + ". Bring the data back, or go on with the new ones by --allow-change");
  }
  if (speaks) {
    spdlog::warn("{}; the run goes on at the same place, row {} of pass {}, of the new data", what,
                 progress.next_row(), progress.epoch() + 1);
  }
}

// With other experts than the checkpoint has, what its tensors become; else the tensors as they
// are.
void load(const std::filesystem::path& step_folder, const CheckpointManifest& manifest,
          const RunConfig& config, bool speaks, TrainingState& state) {
  if (!needs_surgery(manifest.config(), config)) {
    load_checkpoint(local_files(), step_folder, LoadScope::kAll, state);
    return;
  }
  const SurgeryPlan plan = plan_surgery(manifest.config(), config);
  SavedTensors stored(local_files(), step_folder, manifest);
  const std::vector<std::string> told = load_with_surgery(
      plan, [&](const std::string& name) { return stored.whole(name); }, state);
  state.progress = manifest.progress();
  if (!speaks) return;
  for (const auto* lines : {&plan.report, &told}) {
    for (const std::string& line : *lines) spdlog::info("experts of the checkpoint: {}", line);
  }
}

}  // namespace

std::optional<ExpertWays> check_changes(const std::filesystem::path& step_folder,
                                        const RunConfig& config, ChangePolicy policy,
                                        Communicator& world) {
  std::optional<ExpertWays> ways;
  together(world, [&] {
    const CheckpointManifest manifest = read_manifest(local_files(), step_folder);
    ways = saved_expert_ways(manifest, config);
    if (world.rank() != 0) return;
    const ResumeChanges changes = check_resume_changes(manifest.config(), config, policy);
    for (const std::string& line : changes.free) {
      spdlog::info("changed since the checkpoint: {}", line);
    }
    for (const std::string& line : changes.guarded) {
      spdlog::warn("changed since the checkpoint, as --allow-change allows: {}", line);
    }
    (void)plan_surgery(manifest.config(), config);  // refuses what cannot be done
  });
  return ways;
}

Progress resume_run(const std::filesystem::path& step_folder, const CheckpointIdentity& identity,
                    ChangePolicy policy, const ResumeParts& parts) {
  const bool speaks = parts.world.rank() == 0;
  TrainingState state = training_state(parts.adapters, parts.optimizer, Progress());
  together(parts.world, [&] {
    const CheckpointManifest manifest = read_manifest(local_files(), step_folder);
    check_base(manifest, identity, step_folder);
    check_data(manifest, identity, policy, speaks);
    load(step_folder, manifest, identity.config, speaks, state);
    parts.optimizer.set_num_updates(state.progress.optimizer_updates());
  });
  const std::string difference = find_replica_difference(parts.mesh, parts.adapters.parameters());
  together(parts.world, [&] {
    if (difference.empty()) return;
    throw CheckpointError(fmt::format(
        "{}: after reading it the copies of a trained tensor differ between ranks: {}. The ranks "
        "do not see the same files",
        step_folder.string(), difference));
  });
  if (speaks) {
    spdlog::info("resuming from {} ({} steps done)", step_folder.string(), state.progress.step());
  }
  return state.progress;
}

}  // namespace molora
