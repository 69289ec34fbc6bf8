#include "launcher/system/frame.h"

#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"

namespace molora {

namespace {

constexpr size_t kLengthBytes = 4;

size_t length_at(std::string_view bytes) {
  size_t length = 0;
  for (size_t i = kLengthBytes; i-- > 0;) {
    length = length << 8U | static_cast<unsigned char>(bytes[i]);
  }
  return length;
}

// Gives back what was used once it is the larger part.
void drop_front(std::string& buffer, size_t& begin) {
  if (begin * 2 < buffer.size()) return;
  buffer.erase(0, begin);
  begin = 0;
  if (buffer.empty()) std::string().swap(buffer);
}

}  // namespace

void FrameReader::add(std::string_view bytes) { buffer_.append(bytes); }

bool FrameReader::next(google::protobuf::MessageLite& into) {
  const std::string_view rest = std::string_view(buffer_).substr(begin_);
  if (rest.size() < kLengthBytes) return false;
  const size_t length = length_at(rest);
  if (length > max_bytes_) {
    throw CommError(
        fmt::format("a message of {} bytes came in, at most {} are allowed", length, max_bytes_));
  }
  if (rest.size() - kLengthBytes < length) return false;
  if (!into.ParseFromArray(rest.data() + kLengthBytes, static_cast<int>(length))) {
    throw CommError(fmt::format("{} bytes came in that are no {}", length, into.GetTypeName()));
  }
  begin_ += kLengthBytes + length;
  drop_front(buffer_, begin_);
  return true;
}

void FrameWriter::put(const google::protobuf::MessageLite& message) {
  const size_t length = message.ByteSizeLong();
  MOLORA_CHECK(length <= kMaxFrameBytes, "a {} of {} bytes", message.GetTypeName(), length);
  for (size_t i = 0; i < kLengthBytes; ++i) {
    buffer_ += static_cast<char>(length >> (8 * i) & 0xFFU);
  }
  message.AppendToString(&buffer_);
}

bool FrameWriter::write_some(int socket) {
  while (size() > 0) {
    const ssize_t written = ::send(socket, buffer_.data() + begin_, size(), MSG_NOSIGNAL);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno == EAGAIN || errno == EWOULDBLOCK;
    begin_ += static_cast<size_t>(written);
    drop_front(buffer_, begin_);
  }
  return true;
}

ReadResult read_some(int descriptor, std::string& into) {
  std::array<char, size_t{64} << 10> piece;
  while (true) {
    const ssize_t count = ::read(descriptor, piece.data(), piece.size());
    if (count > 0) {
      into.append(piece.data(), static_cast<size_t>(count));
      return ReadResult::kSome;
    }
    if (count == 0) return ReadResult::kEnd;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return ReadResult::kNothingNow;
    if (errno != EINTR) return ReadResult::kEnd;
  }
}

}  // namespace molora
