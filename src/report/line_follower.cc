#include "report/line_follower.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

[[noreturn]] void fail(const char* what, const std::filesystem::path& path, int error) {
  throw IoError(fmt::format("{}: {} failed: {}", path.string(), what, std::strerror(error)));
}

bool is_same_file(const struct stat& a, const struct stat& b) {
  return a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

}  // namespace

LineFollower::~LineFollower() { close(); }

void LineFollower::close() noexcept {
  if (descriptor_ >= 0) ::close(descriptor_);
  descriptor_ = -1;
}

// False when there is nothing to read.
bool LineFollower::open_if_changed(const Hooks& hooks) {
  struct stat named {};
  if (::stat(path_.c_str(), &named) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) fail("stat", path_, errno);
    return descriptor_ >= 0;  // being replaced: what is left of the old one
  }
  if (!S_ISREG(named.st_mode)) throw IoError(path_.string() + ": is not a regular file");
  struct stat held {};
  const bool is_held = descriptor_ >= 0 && ::fstat(descriptor_, &held) == 0;
  const bool is_shorter = static_cast<uint64_t>(named.st_size) < offset_;
  if (is_held && is_same_file(held, named) && !is_shorter) return true;
  const bool is_first = descriptor_ < 0;
  close();
  offset_ = 0;
  partial_.clear();
  if (!is_first) hooks.on_restart();
  descriptor_ = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0 && errno != ENOENT) fail("open", path_, errno);
  return descriptor_ >= 0;
}

void LineFollower::read(const Hooks& hooks) {
  if (!open_if_changed(hooks)) return;
  constexpr size_t kPiece = size_t{1} << 20;
  std::vector<char> piece(kPiece);
  for (;;) {
    const ssize_t got =
        ::pread(descriptor_, piece.data(), piece.size(), static_cast<off_t>(offset_));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("read", path_, errno);
    if (got == 0) return;
    offset_ += static_cast<uint64_t>(got);
    const char* at = piece.data();
    const char* end = at + got;
    while (const auto* line_end =
               static_cast<const char*>(std::memchr(at, '\n', static_cast<size_t>(end - at)))) {
      partial_.append(at, line_end);
      at = line_end + 1;
      const std::string line = std::move(partial_);
      partial_.clear();
      hooks.on_line(line);
    }
    partial_.append(at, end);
  }
}

}  // namespace molora
