#include "worker/resume_point.h"

#include <charconv>
#include <system_error>
#include <vector>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/check.h"
#include "base/error.h"
#include "checkpoint/check_checkpoint.h"
#include "checkpoint/step_folder.h"
#include "worker/together.h"

namespace molora {

namespace {

constexpr char kResumeAuto[] = "auto";
constexpr char kResumeNone[] = "none";

// All ranks have the same error; one speaks.
template <typename ErrorType>
[[noreturn]] void fail_together(Communicator& world, const std::string& what) {
  together(world, [&] { throw ErrorType(what); });
  MOLORA_CHECK(false, "{}", what);
  throw ErrorType(what);
}

// As rank 0 sees them.
std::vector<int64_t> steps_of(Communicator& world, const std::filesystem::path& root) {
  const std::string told = on_rank_zero(world, [&] {
    return fmt::format("{}", fmt::join(committed_steps(local_files(), root), " "));
  });
  std::vector<int64_t> steps;
  for (const char* at = told.data(); at < told.data() + told.size(); ++at) {
    at = std::from_chars(at, told.data() + told.size(), steps.emplace_back()).ptr;
  }
  return steps;
}

NewestValid newest_valid(Communicator& world, const std::filesystem::path& root,
                         const std::vector<int64_t>& steps) {
  NewestValid found = find_newest_valid(world, local_files(), root, steps);
  if (world.rank() != 0) return found;
  for (const NewestValid::PassedOver& damaged : found.passed_over) {
    spdlog::warn("checkpoint of step {} is passed over: {}", damaged.step, damaged.damage);
  }
  return found;
}

// Out of the way of the checkpoints that this run will make of the same steps.
void put_aside(Communicator& world, const std::filesystem::path& root, const NewestValid& found) {
  if (world.rank() != 0) return;
  for (const NewestValid::PassedOver& damaged : found.passed_over) {
    try {
      spdlog::warn("the damaged checkpoint of step {} is kept as {}", damaged.step,
                   (root / put_aside(local_files(), root, damaged.step)).string());
    } catch (const IoError& error) {
      spdlog::warn("the damaged checkpoint of step {} cannot be put aside: {}", damaged.step,
                   error.what());
    }
  }
}

// One folder holds one history: going on from anything but its newest checkpoint would leave
// checkpoints of two runs under the same names.
std::filesystem::path at_path(const std::string& resume, const std::filesystem::path& root,
                              Communicator& world) {
  std::filesystem::path folder = valid_step_folder(resume, world);
  const std::vector<int64_t> steps = steps_of(world, root);
  if (steps.empty()) return folder;
  std::filesystem::path newest = root / step_folder_name(steps.back());
  const std::string is_newest = on_rank_zero(world, [&]() -> std::string {
    std::error_code ignored;
    return std::filesystem::equivalent(folder, newest, ignored) ? "yes" : "";
  });
  if (!is_newest.empty()) return newest;
  fail_together<ConfigError>(
      world, fmt::format("checkpoint.resume is {}, but {} holds checkpoints up to step {} already; "
                         "going on from another one would mix two runs. Choose another output_dir, "
                         "or resume with auto",
                         folder.string(), root.string(), steps.back()));
}

}  // namespace

std::filesystem::path find_resume_point(const std::string& resume,
                                        const std::filesystem::path& root, Communicator& world) {
  if (resume != kResumeAuto && resume != kResumeNone) return at_path(resume, root, world);
  const std::vector<int64_t> steps = steps_of(world, root);
  if (steps.empty()) return {};
  if (resume == kResumeNone) {
    fail_together<ConfigError>(
        world,
        fmt::format("checkpoint.resume is none, but {} holds checkpoints up to step {}; a new run "
                    "would mix with them. Choose another output_dir, remove the folder, or resume "
                    "with auto",
                    root.string(), steps.back()));
  }
  const NewestValid found = newest_valid(world, root, steps);
  if (!found.step) {
    fail_together<CheckpointError>(
        world,
        fmt::format("none of the {} checkpoints in {} is valid (see the warnings). Move the folder "
                    "away to start afresh; a run never starts over by itself where there was one",
                    steps.size(), root.string()));
  }
  put_aside(world, root, found);
  return root / step_folder_name(*found.step);
}

std::filesystem::path valid_step_folder(const std::filesystem::path& path, Communicator& world) {
  if (step_of_folder(path.filename().string())) {
    const std::string damage = find_damage(world, local_files(), path);
    if (damage.empty()) return path;
    fail_together<CheckpointError>(world, "the checkpoint cannot be used: " + damage);
  }
  const std::filesystem::path root = on_rank_zero(world, [&] {
    const std::filesystem::path inside = path / "checkpoints";
    return (std::filesystem::is_directory(inside) ? inside : path).string();
  });
  const NewestValid found = newest_valid(world, root, steps_of(world, root));
  if (found.step) return root / step_folder_name(*found.step);
  fail_together<CheckpointError>(
      world, fmt::format("{}: there is no valid checkpoint here; expected a run folder (with "
                         "checkpoints/step-N in it) or a step-N folder",
                         path.string()));
}

}  // namespace molora
