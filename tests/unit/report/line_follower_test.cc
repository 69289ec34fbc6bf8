#include "report/line_follower.h"

#include <fstream>
#include <string>
#include <vector>

#include <gmock/gmock.h>

#include "base/error.h"
#include "io/file.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class LineFollowerTest : public ::testing::Test {
 protected:
  void append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  std::vector<std::string> read() {
    std::vector<std::string> lines;
    follower_.read({.on_line = [&](const std::string& line) { lines.push_back(line); },
                    .on_restart = [&] { lines.push_back("RESTART"); }});
    return lines;
  }

  testing::TempFolder folder_;
  std::filesystem::path path_ = folder_ / "metrics.jsonl";
  LineFollower follower_{path_};
};

TEST_F(LineFollowerTest, GivesEachLineOnce) {
  EXPECT_THAT(read(), IsEmpty());  // not there yet
  append("a\nb\n");
  EXPECT_THAT(read(), ElementsAre("a", "b"));
  append("c\n");
  EXPECT_THAT(read(), ElementsAre("c"));
  EXPECT_THAT(read(), IsEmpty());
}

TEST_F(LineFollowerTest, AHalfWrittenLineWaitsForItsEnd) {
  append("a\nhal");
  EXPECT_THAT(read(), ElementsAre("a"));
  EXPECT_TRUE(follower_.has_partial_line());
  append("f\n");
  EXPECT_THAT(read(), ElementsAre("half"));
  EXPECT_FALSE(follower_.has_partial_line());
}

TEST_F(LineFollowerTest, AFilePutInItsPlaceIsReadFromItsBeginning) {
  append("a\nb\nc\n");
  EXPECT_THAT(read(), ElementsAre("a", "b", "c"));
  write_file_atomic(path_, "a\nb\n");
  append("c2\nd\n");
  EXPECT_THAT(read(), ElementsAre("RESTART", "a", "b", "c2", "d"));
}

TEST_F(LineFollowerTest, AFileCutShortIsReadFromItsBeginning) {
  append("a\nb\nc");
  EXPECT_THAT(read(), ElementsAre("a", "b"));
  std::filesystem::resize_file(path_, 2);
  EXPECT_THAT(read(), ElementsAre("RESTART", "a"));
}

TEST_F(LineFollowerTest, LinesLongerThanAPieceAreWhole) {
  const std::string longest(3 << 20, 'x');
  append("a\n" + longest + "\nb\n");
  EXPECT_THAT(read(), ElementsAre("a", longest, "b"));
}

TEST_F(LineFollowerTest, AFolderIsNoFile) {
  std::filesystem::create_directory(path_);
  EXPECT_THROW_WITH(read(), IoError, "metrics.jsonl");
}

}  // namespace
}  // namespace molora
