#include "report/metrics_file.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "io/file.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

class MetricsFileTest : public ::testing::Test {
 protected:
  std::filesystem::path path() const { return folder_.path() / "metrics.jsonl"; }
  testing::TempFolder folder_;
};

TEST_F(MetricsFileTest, KeepsTheStepsThatAreDone) {
  {
    MetricsFile file(path(), 0);
    file.append(R"({"step":0,"type":"eval"})");
    file.append(R"({"step":1})");
    file.append(R"({"step":2})");
    file.append(R"({"step":3})");
    file.sync();
  }
  MetricsFile file(path(), 2);
  file.append(R"({"step":3,"again":true})");
  EXPECT_EQ(read_file(path()),
            "{\"step\":0,\"type\":\"eval\"}\n{\"step\":1}\n{\"step\":2}\n"
            "{\"step\":3,\"again\":true}\n");
}

TEST_F(MetricsFileTest, ALineCutShortByACrashIsRemoved) {
  write_file_atomic(path(), "{\"step\":1}\n{\"step\":2,\"lo");
  const MetricsFile file(path(), 1);
  EXPECT_EQ(read_file(path()), "{\"step\":1}\n");
}

TEST_F(MetricsFileTest, AFreshRunStartsEmpty) {
  write_file_atomic(path(), "{\"step\":1}\n");
  const MetricsFile file(path(), 0);
  EXPECT_EQ(read_file(path()), "");
}

TEST_F(MetricsFileTest, ForeignLinesAreNotThrownAway) {
  write_file_atomic(path(), "{\"step\":1}\nnotes of mine\n{\"step\":2}\n");
  EXPECT_THROW_WITH(MetricsFile(path(), 2), DataError, "metrics.jsonl:2: expected a metrics line");
  EXPECT_NE(read_file(path()).find("notes of mine"), std::string::npos);
}

TEST_F(MetricsFileTest, AMissingFolderIsNamed) {
  EXPECT_THROW_WITH(MetricsFile(folder_.path() / "gone" / "m.jsonl", 0), IoError, "gone");
}

}  // namespace
}  // namespace molora
