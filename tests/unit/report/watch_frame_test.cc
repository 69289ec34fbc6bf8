#include "report/watch_frame.h"

#include <algorithm>
#include <limits>

#include <gmock/gmock.h>

namespace molora {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(WatchFrame, SparklinesGoFromTheLowestToTheHighest) {
  EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 20, Glyphs::kUnicode),
            "\u2581\u2582\u2583\u2584\u2585\u2586\u2587\u2588");
  EXPECT_EQ(sparkline({0, std::numeric_limits<double>::quiet_NaN(), 3}, 20, Glyphs::kAscii), "_ #");
  EXPECT_EQ(sparkline({5, 5}, 20, Glyphs::kAscii), "==");
  EXPECT_EQ(sparkline({}, 20, Glyphs::kAscii), "");
  // Means of 0 1, 2 3, 4 5, 6 7.
  EXPECT_EQ(sparkline({0, 1, 2, 3, 4, 5, 6, 7}, 4, Glyphs::kAscii), "_-=#");
}

RunRecord small_run() {
  RunRecord run;
  run.name = "my";
  run.state = RunState::kRunning;
  run.log.add_line(R"({"type":"run","step":0,"num_steps":4,"routers":["r"]})");
  run.log.add_line(
      R"({"type":"eval","step":0,"loss":3,"tasks":[{"task":"t\u001b[31m","loss":3}]})");
  run.log.add_line(R"({"type":"step","step":1,"loss":2.5,"tokens":10,"expert_load":[[4,0]],)"
                   R"("timing":{"seconds":2,"tokens_per_second":5}})");
  run.faults.push_back({.sentence = "rank 1 (host b)\nwas lost", .time = "2026-01-31T09:30:00Z"});
  return run;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

TEST(WatchFrame, TellsWhereARunStands) {
  const std::string text = joined(watch_frame(small_run(), {100, 40}, Glyphs::kAscii));
  EXPECT_THAT(text, HasSubstr("my  running"));
  EXPECT_THAT(text, HasSubstr("25%  step 1/4  ETA 6s"));  // three steps of 2 s
  EXPECT_THAT(text, HasSubstr("2.500"));
  EXPECT_THAT(text, HasSubstr("1 expert not chosen since step 1"));
  EXPECT_THAT(text, HasSubstr("1 fault"));
  EXPECT_THAT(text, HasSubstr("rank 1 (host b)?was lost"));
  EXPECT_THAT(text, Not(HasSubstr("\x1b")));  // nothing of a file steers the terminal
}

TEST(WatchFrame, KeepsToTheTerminal) {
  for (const int columns : {1, 10, 17, 40, 79}) {
    for (const int rows : {1, 3, 9}) {
      const auto lines = watch_frame(small_run(), {columns, rows}, Glyphs::kUnicode);
      EXPECT_LE(lines.size(), static_cast<size_t>(rows));
      for (const std::string& line : lines) {
        const auto width = std::count_if(line.begin(), line.end(), [](char c) {
          return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
        });
        EXPECT_LE(width, columns) << line;
      }
    }
  }
}

TEST(WatchFrame, ARunWithoutStepsSaysSo) {
  EXPECT_THAT(joined(watch_frame({}, {80, 24}, Glyphs::kAscii)), HasSubstr("no step yet"));
}

}  // namespace
}  // namespace molora
