#include "checkpoint/check_checkpoint.h"

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/mutation.h"
#include "checkpoint/manifest.h"
#include "checkpoint/step_folder.h"
#include "checkpoint/verify.h"
#include "coord/checkpoint_policy.h"

namespace molora {

namespace {

struct Opened {
  CheckpointManifest manifest;
  std::string damage;
};

Opened open_checkpoint(FileSystem& files, const std::filesystem::path& step_folder) {
  Opened opened;
  try {
    opened.manifest = read_manifest(files, step_folder);
  } catch (const std::exception& error) {
    opened.damage = error.what();
  }
  return opened;
}

std::string check_share(Communicator& world, FileSystem& files,
                        const std::filesystem::path& step_folder,
                        const CheckpointManifest& manifest) {
  try {
    return check_files(files, step_folder, manifest, world.rank(), world.size());
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

std::string find_damage(Communicator& world, FileSystem& files,
                        const std::filesystem::path& step_folder) {
  // Rank 0 alone asks what is there: on a shared file system others may not see the same yet.
  Opened opened;
  if (world.rank() == 0) opened = open_checkpoint(files, step_folder);
  opened.damage = broadcast_text(world, opened.damage, 0);
  if (!opened.damage.empty()) return opened.damage;
  const std::string bytes = broadcast_text(world, opened.manifest.SerializeAsString(), 0);
  MOLORA_CHECK(opened.manifest.ParseFromString(bytes), "a manifest of {} bytes", bytes.size());
  std::string mine = check_share(world, files, step_folder, opened.manifest);
  if (MOLORA_MUTANT(kDamageOfThisRank)) return mine;
  for (const std::string& damage : all_gather_text(world, mine)) {
    if (!damage.empty()) return damage;
  }
  return {};
}

NewestValid find_newest_valid(Communicator& world, FileSystem& files,
                              const std::filesystem::path& root,
                              const std::vector<int64_t>& committed) {
  NewestValid found;
  const auto damage = [&](int64_t step) {
    return find_damage(world, files, root / step_folder_name(step));
  };
  found.step = newest_valid_step(committed, damage, [&](int64_t step, const std::string& what) {
    found.passed_over.push_back({step, what});
  });
  return found;
}

}  // namespace molora
