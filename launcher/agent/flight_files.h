// Flight records in files, for ranks whose agents have no supervisor to send them to: in the run's
// folder, logs/flight-rank-N.json, and logs/flight-request, which asks every rank for its own.
#pragma once

#include <chrono>
#include <filesystem>
#include <vector>

#include "supervision.pb.h"

namespace molora {

class FlightFiles {
 public:
  using Time = std::chrono::system_clock::time_point;
  // Files from before `since` belong to an earlier run.
  FlightFiles(const std::filesystem::path& folder, Time since);

  void write(const RankRecord& record) const;  // Throws: IoError.
  void ask_all() const;                        // Throws: IoError.
  bool is_asked_for() const;
  // Of all ranks that have written one; what cannot be read is left out.
  std::vector<RankRecord> read(int world_size) const;

 private:
  bool is_new(const std::filesystem::path& path) const;
  std::filesystem::path record_path(uint32_t rank) const;
  std::filesystem::path request_path() const;

  std::filesystem::path logs_;
  Time since_;
};

}  // namespace molora
