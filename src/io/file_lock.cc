#include "io/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <string>

#include <fmt/format.h>

#include "base/error.h"
#include "base/host_name.h"
#include "io/io_failure.h"

namespace molora {

namespace {

// What the holder wrote; it may not have got to that.
std::string holder_of(int descriptor) {
  std::array<char, 256> text{};
  const ssize_t got = ::pread(descriptor, text.data(), text.size(), 0);
  const std::string name(text.data(), got > 0 ? static_cast<size_t>(got) : 0);
  const std::string line = name.substr(0, name.find('\n'));
  return line.empty() ? "another process" : line;
}

void write_holder(int descriptor, const std::filesystem::path& path) {
  const std::string text = fmt::format("process {} on {}\n", ::getpid(), host_name());
  if (::ftruncate(descriptor, 0) != 0) throw_io("empty", path, errno);
  const ssize_t put = ::pwrite(descriptor, text.data(), text.size(), 0);
  if (put < 0) throw_io("write", path, errno);
}

}  // namespace

FileLock::FileLock(const std::filesystem::path& path)
    : descriptor_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
  if (descriptor_ < 0) throw_io("open", path, errno);
  try {
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      is_locked_ = false;
      if (errno == EWOULDBLOCK) {
        throw IoError(
            fmt::format("{}: held by {}; wait for it or stop it, or choose another folder",
                        path.string(), holder_of(descriptor_)));
      }
      const bool is_unknown = errno == ENOLCK || errno == EOPNOTSUPP || errno == ENOSYS;
      if (!is_unknown) throw_io("lock", path, errno);
    }
    if (is_locked_) write_holder(descriptor_, path);
  } catch (...) {
    ::close(descriptor_);
    throw;
  }
}

FileLock::~FileLock() { ::close(descriptor_); }

}  // namespace molora
