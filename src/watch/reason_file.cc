#include "watch/reason_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <system_error>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>

#include "base/error.h"
#include "base/host_name.h"
#include "io/file.h"

namespace molora {

namespace {

constexpr uint64_t kMaxReasonBytes = 1 << 20;

[[noreturn]] void fail(const char* what, const std::filesystem::path& path, int error) {
  throw IoError(fmt::format("{}: {} failed: {}", path.string(), what, std::strerror(error)));
}

void remove_file(const std::filesystem::path& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail("unlink", path, errno);
}

}  // namespace

std::filesystem::path reason_path(const std::filesystem::path& folder) {
  return folder / "reason.json";
}

std::filesystem::path faults_path(const std::filesystem::path& folder) {
  return folder / "logs" / "faults.jsonl";
}

std::string reason_json(const Reason& reason) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(reason, &text, options);
  if (!status.ok()) throw InternalError("reason as JSON: " + std::string(status.message()));
  return text;
}

void write_reason(const std::filesystem::path& folder, const Reason& reason) {
  make_folders(folder);
  write_file_atomic(reason_path(folder), reason_json(reason) + "\n");
}

bool write_first_reason(const std::filesystem::path& folder, const Reason& reason) {
  make_folders(folder);
  // Whole under a name of its own, then a link: whoever comes first has the name, complete.
  const std::filesystem::path own =
      folder / fmt::format(".reason-{}-{}.json", host_name(), ::getpid());
  write_file_atomic(own, reason_json(reason) + "\n");
  const int result = ::link(own.c_str(), reason_path(folder).c_str());
  const int error = errno;
  remove_file(own);
  if (result != 0 && error != EEXIST) fail("link", reason_path(folder), error);
  if (result == 0) sync_folder(folder);
  return result == 0;
}

void remove_reason(const std::filesystem::path& folder) { remove_file(reason_path(folder)); }

void remove_reason_before(const std::filesystem::path& folder,
                          std::chrono::system_clock::time_point time) {
  std::error_code missing;
  const auto written = std::filesystem::last_write_time(reason_path(folder), missing);
  if (missing) return;
  if (std::chrono::file_clock::to_sys(written) < time) remove_reason(folder);
}

std::optional<Reason> read_reason(const std::filesystem::path& folder) {
  const std::filesystem::path path = reason_path(folder);
  if (!std::filesystem::exists(path)) return std::nullopt;
  Reason reason;
  const auto status =
      google::protobuf::util::JsonStringToMessage(read_file(path, kMaxReasonBytes), &reason);
  if (!status.ok()) {
    throw DataError(fmt::format("{}: not the reason of a run's end: {}", path.string(),
                                std::string(status.message())));
  }
  return reason;
}

void append_fault(const std::filesystem::path& folder, const Reason& reason) {
  const std::filesystem::path path = faults_path(folder);
  make_folders(path.parent_path());
  const int file = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
  if (file < 0) fail("open", path, errno);
  const std::string line = reason_json(reason) + "\n";
  const ssize_t written = ::write(file, line.data(), line.size());  // one call: lines do not mix
  const int error = written < 0 ? errno : ENOSPC;
  ::close(file);
  if (written != static_cast<ssize_t>(line.size())) fail("write", path, error);
}

std::string utc_time_text() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

}  // namespace molora
