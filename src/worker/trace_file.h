// One file with the traces of all ranks in one step (profile/chrome_trace.h).
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "comm/mesh.h"
#include "profile/work_recording.h"

namespace molora {

// By how much the wall clock (WorkClock::kWall) of each rank is ahead of that of rank 0, in
// nanoseconds: the median difference of the times at which they leave some barriers together.
// Equal on every rank. Collective.
std::vector<int64_t> clock_offsets(Communicator& world);

// Rank 0 writes what all ranks have recorded, with their clocks aligned; rank by rank, so that it
// holds no more than two ranks' events at once. Makes the folder. Collective over all ranks.
// Throws: IoError (rank 0), which all ranks leave by.
void write_trace(const std::filesystem::path& path, const WorkRecording& recording, int64_t step,
                 const Mesh& mesh);

}  // namespace molora
