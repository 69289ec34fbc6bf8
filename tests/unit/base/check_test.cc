// The macros that everything relies on: success is silent, failure has the right type and words.
#include "base/check.h"

#include <gtest/gtest.h>

namespace molora {
namespace {

TEST(Check, IsSilentWhenTheConditionHolds) {
  EXPECT_NO_THROW(MOLORA_CHECK(1 + 1 == 2));
  EXPECT_NO_THROW(MOLORA_CHECK_EQ(2, 2, "rows of {}", "x"));
}

TEST(Check, ThrowsInternalErrorWithFileLineAndExpression) {
  try {
    MOLORA_CHECK(2 < 1, "rank {}", 3);
    FAIL() << "did not throw";
  } catch (const InternalError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("tests/unit/base/check_test.cc:"), std::string::npos) << message;
    EXPECT_NE(message.find("2 < 1"), std::string::npos) << message;
    EXPECT_NE(message.find("rank 3"), std::string::npos) << message;
    EXPECT_EQ(error.exit_code(), ExitCode::kInternal);
  }
}

TEST(Check, EqPrintsBothValues) {
  try {
    MOLORA_CHECK_EQ(3, 4);
    FAIL() << "did not throw";
  } catch (const InternalError& error) {
    EXPECT_NE(std::string(error.what()).find("3 against 4"), std::string::npos) << error.what();
  }
}

TEST(Check, EqEvaluatesItsOperandsOnce) {
  int calls = 0;
  const auto next = [&calls] { return ++calls; };
  MOLORA_CHECK_EQ(next(), 1);
  EXPECT_EQ(calls, 1);
}

TEST(Error, EachKindHasItsExitCode) {
  EXPECT_EQ(ConfigError("").exit_code(), ExitCode::kConfig);
  EXPECT_EQ(DataError("").exit_code(), ExitCode::kConfig);
  EXPECT_EQ(IoError("").exit_code(), ExitCode::kStorage);
  EXPECT_EQ(CheckpointError("").exit_code(), ExitCode::kStorage);
  EXPECT_EQ(CommError("").exit_code(), ExitCode::kPeer);
  EXPECT_EQ(InternalError("").exit_code(), ExitCode::kInternal);
}

}  // namespace
}  // namespace molora
