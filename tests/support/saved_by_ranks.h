// What ranks of one layout save, read back by another.
#pragma once

#include <mutex>
#include <string>

#include "support/saving_ranks.h"
#include "support/simulated_disk.h"

namespace molora::testing {

// "" when a step that ranks of this layout save is there for one rank and for as many ranks of the
// same layout, every element once and in its place; else what is wrong.
inline std::string saved_by_ranks_fault(const MeshShape& shape,
                                        const RankThreadOptions& threads = {}) {
  SimulatedDisk disk;
  try {
    run_saving({.files = disk, .shape = shape, .threads = threads},
               [](SavingRank& rank, int) { rank.save(7); });
    for (const MeshShape& reader : {mesh_shape(1, 1, 1), shape}) {
      const int64_t found = load_newest(disk, reader);
      if (found != 7) return fmt::format("step {} is there, not 7", found);
    }
  } catch (const std::exception& error) {
    return error.what();
  }
  return {};
}

// "" when damage in any file of a step that these ranks saved is told to every one of them; else
// who is not told.
inline std::string unheard_damage(const MeshShape& shape) {
  SimulatedDisk disk;
  run_saving({.files = disk, .shape = shape}, [](SavingRank& rank, int) { rank.save(7); });
  const std::filesystem::path folder = std::filesystem::path(kRunRoot) / step_folder_name(7);
  std::string fault;
  std::mutex mutex;
  for (const FileSystem::Entry& entry : disk.list(folder)) {
    const std::string bytes = read_file(disk, folder / entry.name);
    disk.create(folder / entry.name)->write(bytes.substr(0, bytes.size() - 1));
    run_rank_threads(shape.world(), [&](Communicator& world) {
      const std::string damage = find_damage(world, disk, folder);
      if (damage.find(entry.name) != std::string::npos) return;
      const std::lock_guard lock(mutex);
      fault = fmt::format("rank {} does not hear of damage in {}", world.rank(), entry.name);
    });
    disk.create(folder / entry.name)->write(bytes);
  }
  return fault;
}

}  // namespace molora::testing
