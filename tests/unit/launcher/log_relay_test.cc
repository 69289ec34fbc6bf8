#include "launcher/supervise/log_relay.h"

#include <fcntl.h>
#include <pty.h>
#include <unistd.h>

#include <array>
#include <optional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/log.h"
#include "launcher/system/frame.h"
#include "launcher/system/output_pipe.h"
#include "support/captured_log.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::read_text;

// A relay into pipes, or with a terminal as standard error and output.
class Relay {
 public:
  explicit Relay(int world_size) {
    out_ = make_pipe();
    err_ = make_pipe();
    open({folder_.path(), /*is_terminal=*/false, out_.write.get(), err_.write.get()}, world_size);
  }
  static constexpr struct OnTerminal {
  } kOnTerminal{};
  explicit Relay(OnTerminal) {
    int master = -1;
    int slave = -1;
    EXPECT_EQ(::openpty(&master, &slave, nullptr, nullptr, nullptr), 0);
    err_ = {FileDescriptor(master), FileDescriptor(slave)};
    open({folder_.path(), /*is_terminal=*/true, slave, slave}, 2);
  }

  void add(int rank, LogLines::Stream stream, const std::string& text) {
    LogLines lines;
    lines.set_stream(stream);
    lines.set_text(text);
    relay->add(rank, lines);
  }
  void err(int rank, const std::string& text) { add(rank, LogLines::err, text); }

  // What has come out on standard error and output.
  std::string shown() {
    relay->write_some();
    return read(err_);
  }
  std::string shown_out() { return read(out_); }
  std::string file(const std::string& name) const { return read_text(folder_ / name); }
  const testing::TempFolder& folder() const { return folder_; }

  std::optional<LogRelay> relay;

 private:
  void open(const LogRelay::Options& options, int world_size) {
    relay.emplace(options);
    relay->begin_attempt(1, world_size);
    for (PipeEnds* ends : {&out_, &err_}) {
      if (ends->read) ::fcntl(ends->read.get(), F_SETFL, O_NONBLOCK);
    }
  }
  static std::string read(const PipeEnds& ends) {
    std::string text;
    while (read_some(ends.read.get(), text) == ReadResult::kSome) {
    }
    return text;
  }

  testing::TempFolder folder_;
  PipeEnds out_;
  PipeEnds err_;
};

TEST(LogRelay, PutsTheRankBeforeLinesThatDoNotSayIt) {
  Relay relay(2);
  relay.err(1, "plain\n12:00:00 warning [rank 1] with rank\n");
  EXPECT_EQ(relay.shown(), "[rank 1] plain\n12:00:00 warning [rank 1] with rank\n");
  EXPECT_EQ(relay.file("rank-1.log"), "plain\n12:00:00 warning [rank 1] with rank\n");
}

TEST(LogRelay, OneRankNeedsNoName) {
  Relay relay(1);
  relay.err(0, "plain\n");
  EXPECT_EQ(relay.shown(), "plain\n");
}

TEST(LogRelay, KeepsStandardOutputApart) {
  Relay relay(2);
  relay.add(0, LogLines::out, "a result\n");
  EXPECT_EQ(relay.shown(), "");
  EXPECT_EQ(relay.shown_out(), "a result\n");
  EXPECT_EQ(relay.file("rank-0.log"), "a result\n");
}

TEST(LogRelay, PutsLinesTogetherAndKeepsTheLastOneWithoutAnEnd) {
  Relay relay(1);
  relay.err(0, "one li");
  EXPECT_EQ(relay.shown(), "");
  relay.err(0, "ne\r\nlast words");
  EXPECT_EQ(relay.shown(), "one line\n");
  relay.relay->end_attempt();
  EXPECT_EQ(relay.shown(), "last words\n");
  EXPECT_EQ(relay.file("rank-0.log"), "one line\nlast words\n");
}

TEST(LogRelay, CutsLinesThatDoNotEnd) {
  Relay relay(1);
  relay.err(0, std::string(150000, 'x'));
  const std::string kept = relay.file("rank-0.log");
  EXPECT_EQ(kept, std::string(65536, 'x') + "\n" + std::string(65536, 'x') + "\n");
}

TEST(LogRelay, WithoutATerminalBarsGoNowhereAndMarkedLinesToTheFileAlone) {
  Relay relay(1);
  relay.err(0, "\x1fpstep 1/9\n\x1fqonly kept\nboth\n");
  EXPECT_EQ(relay.shown(), "both\n");
  EXPECT_EQ(relay.file("rank-0.log"), "only kept\nboth\n");
}

TEST(LogRelay, MakesWhatIsNotTextVisible) {
  Relay relay(1);
  relay.err(0, "\033[2Jgone?\xff\n");
  EXPECT_EQ(relay.shown(), "\\x1b[2Jgone?\\xff\n");
}

TEST(LogRelay, EachStartBeginsWithALineInItsFiles) {
  Relay relay(2);
  AgentHello hello;
  hello.set_rank(1);
  hello.set_host("b");
  hello.set_pid(77);
  relay.relay->begin_rank(hello);
  relay.relay->begin_attempt(2, 2);
  relay.relay->begin_rank(hello);
  EXPECT_THAT(relay.file("rank-1.log"),
              AllOf(HasSubstr("--- start 1, "), HasSubstr("--- start 2, "),
                    HasSubstr("host b, process 77 ---\n")));
  EXPECT_THAT(relay.file("launcher.log"), HasSubstr("--- start 2, "));
}

TEST(LogRelay, TheLaunchersWordsAreKeptAndShownOnRequestOnly) {
  Relay relay(2);
  relay.relay->add_launcher("mpirun: no such host\nsecond");
  EXPECT_EQ(relay.shown(), "");
  EXPECT_THAT(relay.file("launcher.log"), HasSubstr("mpirun: no such host\nsecond"));
  relay.relay->show_launcher_words();
  EXPECT_EQ(relay.shown(), "mpirun: no such host\nsecond\n");
}

TEST(LogRelay, AFileThatCannotBeWrittenIsToldOnceAndTheLinesStillShow) {
  const testing::CapturedLog log;
  Relay relay(1);
  std::filesystem::create_symlink("/dev/full", relay.folder() / "rank-0.log");
  relay.err(0, "first\n");
  relay.err(0, "second\n");
  EXPECT_EQ(relay.shown(), "first\nsecond\n");
  EXPECT_THAT(log.text(), HasSubstr("rank-0.log: write failed: No space left on device"));
  EXPECT_EQ(log.text().find("failed"), log.text().rfind("failed"));
}

TEST(LogRelay, OnATerminalLinesGoAboveTheBar) {
  Relay relay(Relay::kOnTerminal);
  relay.err(0, "\x1fp[==  ] 50%\n");
  EXPECT_EQ(relay.shown(), "[==  ] 50%");
  relay.err(1, "a line\n");
  EXPECT_EQ(relay.shown(), "\r\033[K[rank 1] a line\r\n[==  ] 50%");
  relay.err(0, "\x1fp[====] 100%\n");
  EXPECT_EQ(relay.shown(), "\r\033[K[====] 100%");
  relay.relay->end_attempt();
  EXPECT_EQ(relay.shown(), "\r\033[K");
  EXPECT_THAT(relay.file("rank-0.log"), Not(HasSubstr("50%")));
}

TEST(LogRelay, OnOneTerminalStandardOutputStepsAsideAsWell) {
  Relay relay(Relay::kOnTerminal);
  relay.err(0,
            "\x1fp"
            "bar\n");
  relay.add(0, LogLines::out, "result\n");
  EXPECT_EQ(relay.shown(), "bar\r\033[Kresult\r\nbar");
}

TEST(LogRelay, AReaderThatHasStoppedDoesNotStopUs) {
  Relay relay(1);
  for (int i = 0; i < 3000; ++i) relay.err(0, std::string(1000, 'x') + "\n");
  EXPECT_FALSE(relay.relay->wanted().empty());
  std::string all;
  for (std::string piece = relay.shown(); !piece.empty(); piece = relay.shown()) all += piece;
  EXPECT_LT(all.size(), 2000u * 1000u);
  relay.err(0, "next\n");
  EXPECT_THAT(relay.shown(), AllOf(HasSubstr(" lines are not shown here; they are in logs/)\n"),
                                   HasSubstr("next\n")));
  EXPECT_EQ(relay.file("rank-0.log").size(), 3000u * 1001u + 5u);
}

TEST(LogRelay, AReaderThatIsGoneDoesNotMatter) {
  Relay relay(1);
  PipeEnds gone = make_pipe();
  gone.read.reset();
  LogRelay to_nobody(
      {relay.folder().path(), /*is_terminal=*/false, gone.write.get(), gone.write.get()});
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  to_nobody.add_launcher("x\n");
  to_nobody.show_launcher_words();
  to_nobody.write_some();
  ::signal(SIGPIPE, before);
  EXPECT_TRUE(to_nobody.wanted().empty());
}

}  // namespace
}  // namespace molora
