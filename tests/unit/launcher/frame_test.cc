#include "launcher/system/frame.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <array>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "launcher/system/file_descriptor.h"
#include "supervision.pb.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

struct SocketPair {
  SocketPair() {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()) != 0) throw 0;
    a = FileDescriptor(ends[0]);
    b = FileDescriptor(ends[1]);
  }
  FileDescriptor a, b;
};

LogLines lines_of(const std::string& text) {
  LogLines lines;
  lines.set_text(text);
  return lines;
}

std::string framed(const google::protobuf::MessageLite& message) {
  SocketPair sockets;
  FrameWriter writer;
  writer.put(message);
  std::string bytes;
  EXPECT_TRUE(writer.write_some(sockets.a.get()));
  EXPECT_EQ(read_some(sockets.b.get(), bytes), ReadResult::kSome);
  return bytes;
}

TEST(Frame, BeginsWithItsLengthLittleEndFirst) {
  const std::string bytes = framed(lines_of(std::string(300, 'x')));
  ASSERT_EQ(bytes.size(), 4u + 303u);
  EXPECT_EQ(bytes.substr(0, 4), std::string("\x2f\x01\x00\x00", 4));
}

TEST(Frame, ComesTogetherFromSingleBytes) {
  const std::string bytes = framed(lines_of("first")) + framed(lines_of("second"));
  FrameReader reader;
  LogLines message;
  std::vector<std::string> texts;
  for (const char c : bytes) {
    reader.add({&c, 1});
    while (reader.next(message)) texts.push_back(message.text());
  }
  EXPECT_THAT(texts, ::testing::ElementsAre("first", "second"));
}

TEST(Frame, AnEmptyMessageIsOne) {
  FrameReader reader;
  reader.add(framed(LogLines()));
  LogLines message;
  EXPECT_TRUE(reader.next(message));
  EXPECT_FALSE(reader.next(message));
}

TEST(Frame, OneThatIsTooLongIsRefusedBeforeItIsThere) {
  FrameReader reader;
  reader.add(std::string("\x01\x00\x00\x01", 4));  // 16 MiB and a byte
  LogLines message;
  EXPECT_THROW_WITH(reader.next(message), CommError, "16777217 bytes", "at most 16777216");
  FrameReader strict(10);
  strict.add(framed(lines_of("more than ten bytes")));
  EXPECT_THROW_WITH(strict.next(message), CommError, "at most 10 are allowed");
}

TEST(Frame, BytesOfAnotherTypeAreRefused) {
  FrameReader reader;
  reader.add(std::string("\x03\x00\x00\x00\xff\xff\xff", 7));
  FromAgent message;
  EXPECT_THROW_WITH(reader.next(message), CommError, "3 bytes", "molora.FromAgent");
}

TEST(Frame, OneThatNobodyWouldReadIsNotWritten) {
  FrameWriter writer;
  EXPECT_THROW_WITH(writer.put(lines_of(std::string(kMaxFrameBytes, 'x'))), InternalError,
                    "molora.LogLines of 167772");
}

TEST(FrameWriter, KeepsWhatTheSocketDoesNotTake) {
  SocketPair sockets;
  FrameWriter writer;
  const std::string text(3 << 20, 'y');
  writer.put(lines_of(text));
  ASSERT_TRUE(writer.write_some(sockets.a.get()));
  ASSERT_GT(writer.size(), 0u);
  FrameReader reader;
  LogLines message;
  while (!reader.next(message)) {
    std::string bytes;
    if (read_some(sockets.b.get(), bytes) == ReadResult::kNothingNow) {
      ASSERT_TRUE(writer.write_some(sockets.a.get()));
    }
    reader.add(bytes);
  }
  EXPECT_EQ(message.text(), text);
  EXPECT_EQ(writer.size(), 0u);
}

TEST(FrameWriter, SaysThatTheOtherEndIsGone) {
  SocketPair sockets;
  sockets.b.reset();
  FrameWriter writer;
  writer.put(lines_of("x"));
  EXPECT_FALSE(writer.write_some(sockets.a.get()));
  std::string bytes;
  EXPECT_EQ(read_some(sockets.a.get(), bytes), ReadResult::kEnd);
}

}  // namespace
}  // namespace molora
