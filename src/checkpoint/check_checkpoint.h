// Whether a checkpoint is whole, found out by all ranks together.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "comm/communicator.h"
#include "io/file_system.h"

namespace molora {

// "" when the manifest can be read and every file that it names is there with its length and its
// SHA-256; otherwise the first thing that is wrong, with the file. Reads every byte; the files are
// dealt out over the ranks. The same on every rank; never throws for what is on the disk.
// Collective: a broadcast and an all-gather.
std::string find_damage(Communicator& world, FileSystem& files,
                        const std::filesystem::path& step_folder);

struct NewestValid {
  std::optional<int64_t> step;
  // Newer ones that are damaged, newest first, with the reason.
  struct PassedOver {
    int64_t step = 0;
    std::string damage;
  };
  std::vector<PassedOver> passed_over;
};
// Of these committed steps (ascending, equal on every rank) under `root`. Collective.
NewestValid find_newest_valid(Communicator& world, FileSystem& files,
                              const std::filesystem::path& root,
                              const std::vector<int64_t>& committed);

}  // namespace molora
