#include "launcher/agent/flight_files.h"

#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include "base/error.h"
#include "io/file.h"

namespace molora {

FlightFiles::FlightFiles(const std::filesystem::path& folder, Time since)
    : logs_(folder / "logs"), since_(since) {}

void FlightFiles::write(const RankRecord& record) const {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.add_whitespace = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(record, &text, options);
  if (!status.ok()) throw InternalError("flight record: " + std::string(status.message()));
  make_folders(logs_);
  write_file_atomic(record_path(record.state().rank()), text);
}

void FlightFiles::ask_all() const {
  if (is_asked_for()) return;
  make_folders(logs_);
  write_file_atomic(request_path(), "");
}

bool FlightFiles::is_asked_for() const { return is_new(request_path()); }

std::vector<RankRecord> FlightFiles::read(int world_size) const {
  std::vector<RankRecord> records;
  for (int rank = 0; rank < world_size; ++rank) {
    const std::filesystem::path path = record_path(static_cast<uint32_t>(rank));
    if (!is_new(path)) continue;
    RankRecord record;
    try {
      const std::string text = read_file(path);
      if (!google::protobuf::util::JsonStringToMessage(text, &record).ok()) continue;
    } catch (const IoError&) {
      continue;
    }
    records.push_back(std::move(record));
  }
  return records;
}

bool FlightFiles::is_new(const std::filesystem::path& path) const {
  std::error_code missing;
  const auto written = std::filesystem::last_write_time(path, missing);
  return !missing && std::chrono::file_clock::to_sys(written) >= since_;
}

std::filesystem::path FlightFiles::record_path(uint32_t rank) const {
  return logs_ / fmt::format("flight-rank-{}.json", rank);
}

std::filesystem::path FlightFiles::request_path() const { return logs_ / "flight-request"; }

}  // namespace molora
