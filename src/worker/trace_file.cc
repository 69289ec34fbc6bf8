#include "worker/trace_file.h"

#include <algorithm>
#include <fstream>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/host_name.h"
#include "io/file.h"
#include "profile/chrome_trace.h"
#include "profile/work_recorder.h"
#include "worker/together.h"

namespace molora {

namespace {

constexpr size_t kBarriers = 9;

// The text of one rank, on rank 0; "" elsewhere. Collective.
std::string sent_to_first(Communicator& world, int from, const std::string& text) {
  const auto members = static_cast<size_t>(world.size());
  uint64_t length = text.size();
  world.broadcast(std::as_writable_bytes(std::span(&length, 1)), from);
  std::vector<size_t> send_bytes(members);
  std::vector<size_t> recv_bytes(members);
  const bool is_sender = world.rank() == from;
  if (is_sender) send_bytes[0] = text.size();
  std::string received(world.rank() == 0 ? length : 0, '\0');
  if (world.rank() == 0) recv_bytes[static_cast<size_t>(from)] = received.size();
  const std::string_view sent = is_sender ? std::string_view(text) : std::string_view();
  world.all_to_all(std::as_bytes(std::span(sent.data(), sent.size())), send_bytes,
                   std::as_writable_bytes(std::span(received.data(), received.size())), recv_bytes);
  return received;
}

int64_t earliest_begin(Communicator& world, int64_t begin_ns) {
  std::vector<int64_t> all(static_cast<size_t>(world.size()));
  world.all_gather(std::as_bytes(std::span(&begin_ns, 1)), std::as_writable_bytes(std::span(all)));
  return *std::min_element(all.begin(), all.end());
}

}  // namespace

std::vector<int64_t> clock_offsets(Communicator& world) {
  const auto members = static_cast<size_t>(world.size());
  std::vector<int64_t> mine(kBarriers);
  for (int64_t& time : mine) {
    world.barrier();
    time = now_ns(WorkClock::kWall);
  }
  std::vector<int64_t> all(kBarriers * members);
  world.all_gather(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  std::vector<int64_t> offsets;
  for (size_t rank = 0; rank < members; ++rank) {
    std::vector<int64_t> ahead;
    for (size_t i = 0; i < kBarriers; ++i) ahead.push_back(all[rank * kBarriers + i] - all[i]);
    std::nth_element(ahead.begin(), ahead.begin() + kBarriers / 2, ahead.end());
    offsets.push_back(ahead[kBarriers / 2]);
  }
  return offsets;
}

void write_trace(const std::filesystem::path& path, const WorkRecording& recording, int64_t step,
                 const Mesh& mesh) {
  Communicator& world = mesh.host(Axis::kAll);
  const int64_t ahead = clock_offsets(world)[static_cast<size_t>(world.rank())];
  const int64_t origin = earliest_begin(world, recording.begin_ns - ahead);
  const std::string events =
      chrome_events(recording, {world.rank(), host_name(), -ahead - origin}, step);
  std::ofstream file;
  const auto write = [&](const std::string& text) {
    together(world, [&] {
      if (world.rank() != 0) return;
      if (!file.is_open()) {
        if (path.has_parent_path()) make_folders(path.parent_path());
        file.open(path, std::ios::trunc);
      }
      file << text << std::flush;
      if (!file) throw IoError(fmt::format("{}: the trace cannot be written", path.string()));
    });
  };
  write(chrome_trace_begin());
  for (int rank = 0; rank < world.size(); ++rank) {
    const std::string of_rank = sent_to_first(world, rank, rank == world.rank() ? events : "");
    write((rank == 0 ? "" : ",\n") + of_rank);
  }
  write(chrome_trace_end());
}

}  // namespace molora
