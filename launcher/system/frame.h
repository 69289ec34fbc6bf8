// Protobuf messages over a socket that does not block: each is a length of four bytes, little end
// first, and that many bytes.
//
// The reader sees bytes from the network: nothing that it is given makes it take more memory than
// its limit and what was given.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include <google/protobuf/message_lite.h>

namespace molora {

constexpr size_t kMaxFrameBytes = size_t{16} << 20;

class FrameReader {
 public:
  explicit FrameReader(size_t max_bytes = kMaxFrameBytes) : max_bytes_(max_bytes) {}

  // The longest message that is accepted from now on.
  void set_max_bytes(size_t max_bytes) { max_bytes_ = max_bytes; }
  void add(std::string_view bytes);
  // Takes the next message, if all of it is there.
  // Throws: CommError when it is too long or not of this type; nothing after it can be read.
  bool next(google::protobuf::MessageLite& into);

 private:
  size_t max_bytes_;
  std::string buffer_;
  size_t begin_ = 0;  // of what was not taken yet
};

// Messages on their way out, in order.
class FrameWriter {
 public:
  // Throws: InternalError when the message is longer than kMaxFrameBytes.
  void put(const google::protobuf::MessageLite& message);
  // Bytes that are still to be written.
  size_t size() const { return buffer_.size() - begin_; }
  // Writes what the socket takes now. False when the other end is gone.
  bool write_some(int socket);

 private:
  std::string buffer_;
  size_t begin_ = 0;
};

// What a read that does not block came to.
enum class ReadResult { kSome, kNothingNow, kEnd };

// Appends to `into` at most 64 KiB of what can be read now. Errors of the other end are an end.
ReadResult read_some(int descriptor, std::string& into);

}  // namespace molora
