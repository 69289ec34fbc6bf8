#include "report/metrics_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "io/file.h"

namespace molora {

namespace {

using nlohmann::json;

// The lines of the first `steps_done` steps. Only the last line of a file may be torn.
std::string lines_to_keep(const std::filesystem::path& path, int64_t steps_done) {
  const std::string text = read_file(path);
  std::string kept;
  size_t begin = 0;
  for (int64_t number = 1; begin < text.size(); ++number) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // torn: the step that it belongs to is done again
    const std::string line = text.substr(begin, end - begin);
    begin = end + 1;
    const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!object.is_object() || !object.contains("step") || !object["step"].is_number_integer()) {
      throw DataError(
          fmt::format("{}:{}: expected a metrics line, a JSON object with an integer \"step\", "
                      "found '{}'; move "
                      "the file away to go on without the earlier lines",
                      path.string(), number, line.substr(0, 80)));
    }
    if (object["step"].get<int64_t>() <= steps_done) kept += line + '\n';
  }
  return kept;
}

}  // namespace

MetricsFile::MetricsFile(const std::filesystem::path& path, int64_t steps_done) : path_(path) {
  std::string kept;
  if (steps_done > 0 && std::filesystem::exists(path)) kept = lines_to_keep(path, steps_done);
  is_empty_ = kept.empty();
  write_file_atomic(path, kept);
  fd_ = ::open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd_ < 0) {
    throw IoError(
        fmt::format("{}: cannot be opened for appending: {}", path.string(), std::strerror(errno)));
  }
}

MetricsFile::~MetricsFile() {
  if (fd_ >= 0) ::close(fd_);
}

void MetricsFile::append(const std::string& json_object) {
  MOLORA_CHECK(json_object.find('\n') == std::string::npos, "a metrics line has a line break");
  const std::string line = json_object + '\n';
  size_t written = 0;
  while (written < line.size()) {
    const ssize_t n = ::write(fd_, line.data() + written, line.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      throw IoError(fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)));
    }
    written += static_cast<size_t>(n);
  }
}

void MetricsFile::sync() {
  if (::fsync(fd_) != 0) {
    throw IoError(fmt::format("{}: cannot be synced: {}", path_.string(), std::strerror(errno)));
  }
}

}  // namespace molora
