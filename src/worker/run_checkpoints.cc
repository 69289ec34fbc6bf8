#include "worker/run_checkpoints.h"

#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "checkpoint/checkpoint_reader.h"
#include "checkpoint/step_folder.h"
#include "config/config_difference.h"
#include "worker/together.h"
#include "worker/training_snapshot.h"

namespace molora {

namespace {

constexpr char kResumeAuto[] = "auto";
constexpr char kResumeNone[] = "none";

// The newest valid step under `root`; says why others were passed over.
std::optional<std::filesystem::path> newest_valid(const std::filesystem::path& root) {
  const auto damage = [&](int64_t step) { return find_damage(root / step_folder_name(step)); };
  const auto tell = [&](int64_t step, const std::string& what) {
    spdlog::warn("checkpoint of step {} is passed over: {}", step, what);
  };
  const auto step = newest_valid_step(committed_steps(root), damage, tell);
  if (!step) return std::nullopt;
  return root / step_folder_name(*step);
}

// One folder holds one history: going on from anything but its newest checkpoint would leave
// checkpoints of two runs under the same names.
std::string choose_path(const std::string& resume, const std::filesystem::path& root) {
  const std::filesystem::path folder = valid_step_folder(resume);
  const std::vector<int64_t> committed = committed_steps(root);
  if (committed.empty()) return folder.string();
  const std::filesystem::path newest = root / step_folder_name(committed.back());
  std::error_code ignored;
  if (std::filesystem::equivalent(folder, newest, ignored)) return newest.string();
  throw ConfigError(fmt::format(
      "checkpoint.resume is {}, but {} holds checkpoints up to step {} already; going on from "
      "another one would mix two runs. Choose another output_dir, or resume with auto",
      folder.string(), root.string(), committed.back()));
}

std::string choose(const std::string& resume, const std::filesystem::path& root) {
  if (resume != kResumeAuto && resume != kResumeNone) return choose_path(resume, root);
  const std::vector<int64_t> committed = committed_steps(root);
  if (committed.empty()) return {};
  if (resume == kResumeNone) {
    throw ConfigError(fmt::format(
        "checkpoint.resume is none, but {} holds checkpoints up to step {}; a new run would mix "
        "with them. Choose another output_dir, remove the folder, or resume with auto",
        root.string(), committed.back()));
  }
  const auto newest = newest_valid(root);
  if (!newest) {
    throw CheckpointError(fmt::format(
        "none of the {} checkpoints in {} is valid (see the warnings). Move the folder away to "
        "start afresh; a run never starts over by itself where there was one",
        committed.size(), root.string()));
  }
  return newest->string();
}

}  // namespace

std::filesystem::path valid_step_folder(const std::filesystem::path& path) {
  if (step_of_folder(path.filename().string())) {
    const std::string damage = find_damage(path);
    if (damage.empty()) return path;
    throw CheckpointError("the checkpoint cannot be used: " + damage);
  }
  const std::filesystem::path inside = path / "checkpoints";
  const std::filesystem::path root = std::filesystem::is_directory(inside) ? inside : path;
  if (const auto newest = newest_valid(root)) return *newest;
  throw CheckpointError(fmt::format(
      "{}: there is no valid checkpoint here; expected a run folder (with checkpoints/step-N in "
      "it) or a step-N folder",
      path.string()));
}

std::filesystem::path checkpoint_to_resume(const std::string& resume,
                                           const std::filesystem::path& root, Communicator& world) {
  return on_rank_zero(world, [&] { return choose(resume, root); });
}

RunCheckpoints::RunCheckpoints(const Parts& parts, const CheckpointConfig& config,
                               const std::filesystem::path& root, CheckpointIdentity identity)
    : parts_(parts), config_(config), root_(root), identity_(std::move(identity)) {
  if (parts_.world.rank() == 0) remove_stale_attempts(root_);
}

void RunCheckpoints::resume(const std::filesystem::path& step_folder, Progress& progress) {
  together(parts_.world, [&] {
    const CheckpointManifest manifest = read_manifest(step_folder);
    if (manifest.base_fingerprint() != identity_.base_fingerprint) {
      throw ConfigError(fmt::format(
          "{} was made with another base model: its fingerprint is {}, that of model.path is {}. "
          "Adapters fit only the weights that they were trained on",
          step_folder.string(), manifest.base_fingerprint(), identity_.base_fingerprint));
    }
    TrainingState state = training_state(parts_.adapters, parts_.optimizer, progress);
    load_checkpoint(step_folder, LoadScope::kAll, state);
    progress = state.progress;
    parts_.optimizer.set_num_updates(progress.optimizer_updates());
    if (step_folder.parent_path() == root_) resumed_step_ = progress.step();
    if (parts_.world.rank() != 0) return;
    spdlog::info("resuming from {} ({} steps done)", step_folder.string(), progress.step());
    for (const std::string& line : config_difference(manifest.config(), identity_.config)) {
      spdlog::warn("changed since the checkpoint: {}", line);
    }
    if (manifest.data_fingerprint() != identity_.data_fingerprint) {
      spdlog::warn(
          "the training data (or their tokenization) changed since the checkpoint; the run goes on "
          "at the same place, row {} of pass {}, of the new data",
          progress.next_row(), progress.epoch() + 1);
    }
  });
}

std::string RunCheckpoints::save_if_due(const StepEvents& events, const Progress& progress,
                                        const std::function<void()>& before_commit) {
  std::string reason = checkpoint_reason(config_, events);
  if (reason.empty()) return {};
  together(parts_.world, [&] {
    if (parts_.world.rank() == 0) before_commit();
  });
  last_saved_ = write_checkpoint(
      parts_.world, root_, training_state(parts_.adapters, parts_.optimizer, progress), identity_);
  if (parts_.world.rank() == 0) prune(progress);
  return reason;
}

// A checkpoint that cannot be removed costs space, nothing else: training goes on.
void RunCheckpoints::prune(const Progress& progress) {
  std::optional<int64_t> best;
  if (progress.has_best_eval_step()) best = progress.best_eval_step();
  for (const int64_t step : steps_to_remove(config_, committed_steps(root_), best, resumed_step_)) {
    const std::filesystem::path folder = root_ / step_folder_name(step);
    std::error_code code;
    std::filesystem::remove_all(folder, code);
    if (code)
      spdlog::warn("cannot remove the old checkpoint {}: {}", folder.string(), code.message());
  }
}

}  // namespace molora
