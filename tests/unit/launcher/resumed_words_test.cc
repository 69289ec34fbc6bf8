#include "launcher/supervise/resumed_words.h"

#include <signal.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launcher/supervise/stop_request.h"

namespace molora {
namespace {

using ::testing::ElementsAre;

TEST(ResumedWords, EndInResumeAuto) {
  EXPECT_THAT(resumed_words({"molora", "train", "a.yaml"}, "auto", Checkpoints::kNone),
              ElementsAre("molora", "train", "a.yaml", "--resume", "auto"));
}

TEST(ResumedWords, ReplaceWhatWasThere) {
  EXPECT_THAT(resumed_words({"molora", "--resume", "none", "a.yaml"}, "auto", Checkpoints::kNone),
              ElementsAre("molora", "a.yaml", "--resume", "auto"));
  EXPECT_THAT(resumed_words({"molora", "--resume=x/step-5"}, "auto", Checkpoints::kOfThisRun),
              ElementsAre("molora", "--resume", "auto"));
}

TEST(ResumedWords, KeepThePathUntilTheRunHasACheckpointOfItsOwn) {
  const std::vector<std::string> words = {"molora", "--resume", "x/step-5"};
  EXPECT_EQ(resumed_words(words, "auto", Checkpoints::kNone), words);
  const std::vector<std::string> configured = {"molora", "a.yaml"};
  EXPECT_EQ(resumed_words(configured, "x/step-5", Checkpoints::kNone), configured);
  EXPECT_THAT(resumed_words(configured, "x/step-5", Checkpoints::kOfThisRun),
              ElementsAre("molora", "a.yaml", "--resume", "auto"));
}

TEST(StopRequest, BecomesMoreUrgentWithEachInterrupt) {
  StopRequest stop;
  stop.take(SIGCHLD);
  EXPECT_FALSE(stop.is_asked());
  stop.take(SIGUSR1);
  stop.take(SIGUSR1);
  stop.take(SIGHUP);
  stop.take(SIGINT);
  EXPECT_TRUE(stop.is_asked());
  EXPECT_FALSE(stop.is_urgent());
  stop.take(SIGTERM);
  EXPECT_TRUE(stop.is_urgent());
  EXPECT_FALSE(stop.is_last());
  stop.take(SIGINT);
  EXPECT_TRUE(stop.is_last());
  EXPECT_EQ(stop.signal(), SIGINT);
}

}  // namespace
}  // namespace molora
