#include "checkpoint/background_thread.h"

#include <atomic>

#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"

namespace molora {
namespace {

constexpr std::chrono::milliseconds kLong{60'000};

TEST(BackgroundThread, WorksWhileItsOwnerGoesOn) {
  BackgroundThread thread;
  EXPECT_FALSE(thread.is_busy());
  std::mutex gate;
  std::atomic<bool> is_done = false;
  gate.lock();
  thread.start([&] {
    const std::lock_guard lock(gate);
    is_done = true;
  });
  EXPECT_TRUE(thread.is_busy());
  thread.wait_for(std::chrono::milliseconds(1));
  EXPECT_TRUE(thread.is_busy());
  EXPECT_FALSE(is_done);
  gate.unlock();
  thread.wait_for(kLong);
  EXPECT_FALSE(thread.is_busy());
  EXPECT_TRUE(is_done);
  EXPECT_EQ(thread.take_failure(), "");
}

TEST(BackgroundThread, TellsWhatItsWorkThrewOnce) {
  BackgroundThread thread;
  thread.start([] { throw IoError("the disk is full"); });
  thread.wait_for(kLong);
  EXPECT_EQ(thread.take_failure(), "the disk is full");
  EXPECT_EQ(thread.take_failure(), "");
  thread.start([] { throw IoError(""); });
  thread.wait_for(kLong);
  EXPECT_NE(thread.take_failure(), "") << "a failure without words is one";
}

TEST(BackgroundThread, DoesOneThingAtATimeAndForgetsNoFailure) {
  BackgroundThread thread;
  std::mutex gate;
  gate.lock();
  thread.start([&] {
    const std::lock_guard lock(gate);
    throw IoError("lost");
  });
  EXPECT_THROW_WITH(thread.start([] {}), InternalError, "other work is at hand");
  gate.unlock();
  thread.wait_for(kLong);
  EXPECT_THROW_WITH(thread.start([] {}), InternalError, "nobody took the failure", "lost");
  EXPECT_EQ(thread.take_failure(), "lost");
}

TEST(BackgroundThread, IsWaitedForWhenItsOwnerLeaves) {
  std::atomic<bool> is_done = false;
  {
    BackgroundThread thread;
    thread.start([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      is_done = true;
    });
  }
  EXPECT_TRUE(is_done);
}

}  // namespace
}  // namespace molora
