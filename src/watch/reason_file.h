// Why a run ended, for its owner and for programs: reason.json in the run's folder (the latest end)
// and logs/faults.jsonl (all of them, one line each). Both hold a Reason (proto/supervision.proto)
// as JSON with the names of its fields; readers of either may rely on that.
#pragma once

#include <chrono>
#include <filesystem>
#include <optional>
#include <string>

#include "supervision.pb.h"

namespace molora {

// The files of a run's folder.
std::filesystem::path reason_path(const std::filesystem::path& folder);  // reason.json
std::filesystem::path faults_path(const std::filesystem::path& folder);  // logs/faults.jsonl

// One line without its end.
std::string reason_json(const Reason& reason);

// Puts reason.json in the place of any other; a crash leaves one of the two. Makes the folder.
// Throws: IoError.
void write_reason(const std::filesystem::path& folder, const Reason& reason);

// The same for processes that do not know of each other: false when there is one already.
bool write_first_reason(const std::filesystem::path& folder, const Reason& reason);

// Takes reason.json away, if there is one. Throws: IoError.
void remove_reason(const std::filesystem::path& folder);
// ... unless it was written after this time.
void remove_reason_before(const std::filesystem::path& folder,
                          std::chrono::system_clock::time_point time);

// nullopt when there is none. Throws: DataError when the file is not a Reason, IoError.
std::optional<Reason> read_reason(const std::filesystem::path& folder);

// Appends a line to logs/faults.jsonl; lines of several processes do not mix. Throws: IoError.
void append_fault(const std::filesystem::path& folder, const Reason& reason);

// Now, "2026-01-31T09:30:00Z".
std::string utc_time_text();

}  // namespace molora
