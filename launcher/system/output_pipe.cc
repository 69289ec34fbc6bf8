#include "launcher/system/output_pipe.h"

#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/error.h"
#include "launcher/system/frame.h"

namespace molora {

namespace {

constexpr size_t kMaxLineBytes = size_t{64} << 10;

}  // namespace

OutputPipe::OutputPipe(FileDescriptor from) : from_(std::move(from)) {
  if (!from_) return;
  const int flags = ::fcntl(from_.get(), F_GETFL);
  if (flags < 0 || ::fcntl(from_.get(), F_SETFL, flags | O_NONBLOCK) != 0) {
    throw IoError(fmt::format("a pipe cannot be read without blocking: {}", std::strerror(errno)));
  }
}

std::string OutputPipe::take_lines(size_t max_bytes) {
  size_t taken = 0;
  while (from_ && taken < max_bytes) {
    const size_t before = buffer_.size();
    const ReadResult result = read_some(from_.get(), buffer_);
    taken += buffer_.size() - before;
    if (result == ReadResult::kEnd) from_.reset();
    if (result != ReadResult::kSome) break;
  }
  const size_t end = buffer_.rfind('\n');
  size_t count = end == std::string::npos ? 0 : end + 1;
  if (buffer_.size() - count > kMaxLineBytes) count = buffer_.size();
  std::string lines = buffer_.substr(0, count);
  buffer_.erase(0, count);
  return lines;
}

std::string OutputPipe::take_rest() { return std::exchange(buffer_, {}); }

PipeEnds make_pipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) {
    throw IoError(fmt::format("no pipe: {}", std::strerror(errno)));
  }
  return {FileDescriptor(ends[0]), FileDescriptor(ends[1])};
}

}  // namespace molora
