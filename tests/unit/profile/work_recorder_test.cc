#include "profile/work_recorder.h"

#include <thread>

#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "support/expect_throw.h"
#include "watch/thread_ties.h"
#include "watch/work_observer.h"

namespace molora {
namespace {

const Span* find(const WorkRecording& recording, std::string_view name) {
  for (const WorkTrack& track : recording.tracks) {
    for (const Span& span : track.spans) {
      if (span.name == name) return &span;
    }
  }
  return nullptr;
}

TEST(WorkRecorder, RegistersNothingWhenItDoesNotRecord) {
  WorkRecorder recorder(WorkClock::kWall);
  EXPECT_FALSE(at::hasCallbacks());
  recorder.start();
  EXPECT_TRUE(at::hasThreadLocalCallbacks());
  (void)recorder.stop();
  EXPECT_FALSE(at::hasCallbacks());
  EXPECT_EQ(thread_observer(), nullptr);
}

TEST(WorkRecorder, StopsWhenItIsDestroyed) {
  {
    WorkRecorder recorder(WorkClock::kWall);
    recorder.start();
  }
  EXPECT_FALSE(at::hasCallbacks());
  EXPECT_EQ(thread_observer(), nullptr);
}

TEST(WorkRecorder, NestsOperatorsInOperatorsInPlaces) {
  const at::Tensor x = at::ones({3, 4});
  const at::Tensor weight = at::ones({5, 4});
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  {
    const PlaceScope place(WorkPlace{2, Direction::kForward, "down_proj"});
    RECORD_FUNCTION("molora::frozen_product", {});
    (void)at::linear(x, weight);
  }
  const WorkRecording recording = recorder.stop();
  ASSERT_EQ(recording.tracks.size(), 1U);
  const std::vector<Span>& spans = recording.tracks[0].spans;
  ASSERT_GE(spans.size(), 4U);
  EXPECT_STREQ(spans[0].name, "down_proj");
  EXPECT_EQ(spans[0].parent, Span::kNoParent);
  EXPECT_STREQ(spans[1].name, "molora::frozen_product");
  EXPECT_EQ(spans[1].parent, 0);
  EXPECT_EQ(spans[1].layer, 2);
  EXPECT_STREQ(spans[2].name, "aten::linear");
  EXPECT_EQ(spans[2].parent, 1);
  for (size_t i = 1; i < spans.size(); ++i) {
    const Span& above = spans[static_cast<size_t>(spans[i].parent)];
    EXPECT_GE(spans[i].begin_ns, above.begin_ns) << spans[i].name;
    EXPECT_LE(spans[i].end_ns, above.end_ns) << spans[i].name;
  }
  EXPECT_LE(recording.begin_ns, spans[0].begin_ns);
  EXPECT_GE(recording.end_ns, spans[0].end_ns);
}

TEST(WorkRecorder, JoinsABackwardNodeWithItsForwardOperator) {
  const at::Tensor x = at::ones({3, 4});
  const at::Tensor weight = at::ones({4, 5}).requires_grad_();
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  at::mm(x, weight).sum().backward();
  const WorkRecording recording = recorder.stop();
  const Span* forward = find(recording, "aten::mm");
  const Span* backward = find(recording, "MmBackward0");
  ASSERT_TRUE(forward != nullptr && backward != nullptr);
  EXPECT_EQ(backward->kind, SpanKind::kBackwardNode);
  EXPECT_EQ(forward->sequence_nr, backward->sequence_nr);
  EXPECT_GE(forward->sequence_nr, 0);
}

TEST(WorkRecorder, KnowsWhetherTheSecondFactorIsTrained) {
  const at::Tensor x = at::ones({3, 4}).requires_grad_();
  const at::Tensor frozen = at::ones({5, 4});
  const at::Tensor trained = at::ones({4, 5}).requires_grad_();
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  (void)at::mm(x, trained);
  (void)at::linear(x, frozen);  // has a product of its own in it
  const WorkRecording recording = recorder.stop();
  EXPECT_FALSE(find(recording, "aten::linear")->has_trained_factor);
  EXPECT_TRUE(find(recording, "aten::mm")->has_trained_factor);
}

TEST(WorkRecorder, SeesCollectivesWithGroupAndBytes) {
  const std::string group = "tp";
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  { const CollectiveScope scope(group, "all_gather", 96); }
  const WorkRecording recording = recorder.stop();
  const Span* span = find(recording, "all_gather");
  ASSERT_NE(span, nullptr);
  EXPECT_EQ(span->kind, SpanKind::kCollective);
  EXPECT_STREQ(span->group, "tp");
  EXPECT_EQ(span->bytes, 96U);
}

TEST(WorkRecorder, RecordsOneThreadAndNotItsNeighbours) {
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  std::thread([] { (void)at::ones({2}).add(1); }).join();
  const WorkRecording recording = recorder.stop();
  ASSERT_EQ(recording.tracks.size(), 1U);
  EXPECT_TRUE(recording.tracks[0].spans.empty());
}

TEST(WorkRecorder, RecordsATiedThreadInATrackOfItsOwn) {
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  const ThreadTies ties = ThreadTies::of_this_thread();
  std::thread([&] {
    const TiedScope tied(ties);
    const PlaceScope place(WorkPlace{1, Direction::kBackward, "o_proj"});
  }).join();
  const WorkRecording recording = recorder.stop();
  ASSERT_EQ(recording.tracks.size(), 2U);
  EXPECT_TRUE(recording.tracks[0].spans.empty());
  ASSERT_EQ(recording.tracks[1].spans.size(), 1U);
  EXPECT_STREQ(recording.tracks[1].spans[0].name, "o_proj");
}

TEST(WorkRecorder, TwoThreadsRecordSideBySide) {
  const auto record = [](int times) {
    WorkRecorder recorder(WorkClock::kWall);
    recorder.start();
    for (int i = 0; i < times; ++i) (void)at::ones({2});
    const WorkRecording recording = recorder.stop();
    int64_t count = 0;
    for (const Span& span : recording.tracks[0].spans) {
      if (std::string_view(span.name) == "aten::ones") ++count;
    }
    return count;
  };
  int64_t other = 0;
  std::thread thread([&] { other = record(3); });
  EXPECT_EQ(record(5), 5);
  thread.join();
  EXPECT_EQ(other, 3);
}

TEST(WorkRecorder, CountsTheBytesOfTensorsAtTheirPeak) {
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start(WorkRecorder::Memory::kCounted);
  {
    const at::Tensor a = at::empty({1000}, at::kFloat);
    const at::Tensor b = at::empty({500}, at::kFloat);
  }
  { const at::Tensor c = at::empty({700}, at::kFloat); }
  EXPECT_EQ(recorder.stop().peak_tensor_bytes, 6000);
}

TEST(WorkRecorder, RefusesToRecordBesideAnother) {
  WorkRecorder one(WorkClock::kWall);
  WorkRecorder two(WorkClock::kWall);
  one.start();
  EXPECT_THROW_WITH(two.start(), InternalError, "thread_observer() == nullptr");
}

TEST(WorkRecorder, RefusesToStopInsideASpan) {
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  const PlaceScope place(WorkPlace{1, Direction::kForward, "o_proj"});
  EXPECT_THROW_WITH((void)recorder.stop(), InternalError, "o_proj is still under way");
}

}  // namespace
}  // namespace molora
