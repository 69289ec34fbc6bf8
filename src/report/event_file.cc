#include "report/event_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <span>
#include <system_error>

#include <fmt/format.h>

#include "base/error.h"
#include "base/host_name.h"
#include "io/digest.h"
#include "io/file.h"
#include "tensorboard_event.pb.h"

namespace molora {

namespace {

constexpr std::string_view kPrefix = "events.out.tfevents.";  // readers look for "tfevents"

template <typename Number>
void append_little_endian(std::string& text, Number number) {
  for (size_t byte = 0; byte < sizeof(Number); ++byte) {
    text += static_cast<char>((number >> (8 * byte)) & 0xff);
  }
}

double seconds_now() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

// The second in the name of an event file; 0 for other names.
int64_t second_of(const std::string& name) {
  if (!name.starts_with(kPrefix)) return 0;
  int64_t second = 0;
  std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), second);
  return second;
}

// Readers take the files of a folder in the order of their names, which begin with the second of
// their making: a start within the same second, or after the clock was set back, counts on.
std::filesystem::path next_path(const std::filesystem::path& folder) {
  auto second = static_cast<int64_t>(seconds_now());
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    second = std::max(second, second_of(entry.path().filename().string()) + 1);
  }
  return folder / fmt::format("{}{:010}.{}.{}", kPrefix, second, host_name(), ::getpid());
}

}  // namespace

uint32_t masked_crc32c(std::string_view bytes) {
  constexpr uint32_t kMask = 0xa282ead8;
  constexpr int kRotation = 15;
  Crc32c digest;
  digest.update(std::as_bytes(std::span(bytes.data(), bytes.size())));
  return std::rotr(digest.value(), kRotation) + kMask;
}

std::string event_record(std::string_view event) {
  std::string record;
  append_little_endian(record, static_cast<uint64_t>(event.size()));
  append_little_endian(record, masked_crc32c(record));
  record += event;
  append_little_endian(record, masked_crc32c(event));
  return record;
}

EventFile::EventFile(const std::filesystem::path& folder, int64_t first_step) {
  make_folders(folder);
  path_ = next_path(folder);
  descriptor_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
  if (descriptor_ < 0) {
    throw IoError(fmt::format("{}: cannot be made: {}", path_.string(), std::strerror(errno)));
  }
  tensorboard::Event version;
  version.set_wall_time(seconds_now());
  version.set_file_version("brain.Event:2");
  write(version.SerializeAsString());
  tensorboard::Event start;
  start.set_wall_time(version.wall_time());
  start.set_step(first_step);
  start.mutable_session_log()->set_status(tensorboard::SessionLog::START);
  write(start.SerializeAsString());
}

EventFile::~EventFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void EventFile::append(int64_t step, double wall_time, const std::vector<Scalar>& scalars) {
  if (scalars.empty()) return;
  tensorboard::Event event;
  event.set_wall_time(wall_time);
  event.set_step(step);
  for (const Scalar& scalar : scalars) {
    tensorboard::Summary::Value& value = *event.mutable_summary()->add_value();
    value.set_tag(scalar.tag);
    value.set_simple_value(static_cast<float>(scalar.value));
  }
  write(event.SerializeAsString());
}

void EventFile::write(const std::string& event) {
  const std::string record = event_record(event);
  size_t written = 0;
  while (written < record.size()) {
    const ssize_t n = ::write(descriptor_, record.data() + written, record.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      throw IoError(fmt::format("{}: cannot be written: {}", path_.string(), std::strerror(errno)));
    }
    written += static_cast<size_t>(n);
  }
}

void EventFile::sync() {
  if (::fsync(descriptor_) != 0) {
    throw IoError(fmt::format("{}: cannot be synced: {}", path_.string(), std::strerror(errno)));
  }
}

bool has_event_files(const std::filesystem::path& folder) {
  std::error_code error;
  const std::filesystem::directory_iterator entries(folder, error);
  return !error && std::any_of(begin(entries), end(entries), [](const auto& entry) {
    return entry.path().filename().string().starts_with(kPrefix);
  });
}

}  // namespace molora
