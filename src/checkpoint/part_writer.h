// Writing one rank's files of a checkpoint.
#pragma once

#include <atomic>
#include <filesystem>

#include "checkpoint/host_snapshot.h"
#include "coordination.pb.h"
#include "io/file_system.h"

namespace molora {

// Writes the snapshot's files into `folder`, which it makes, with their digests computed on the
// way, and brings them to the device. Between pieces of a few MiB it looks at `is_given_up`.
// Returns what the manifest says of them. Does file I/O only: any thread may call it.
// Throws: IoError; CheckpointError when it was given up.
PartRecord write_part(FileSystem& files, const std::filesystem::path& folder,
                      const HostSnapshot& snapshot, int64_t step,
                      const std::atomic<bool>& is_given_up);

}  // namespace molora
