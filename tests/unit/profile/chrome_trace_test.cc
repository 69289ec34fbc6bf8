#include "profile/chrome_trace.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "profile/work_recorder.h"
#include "watch/work_observer.h"

namespace molora {
namespace {

WorkRecording small_recording() {
  const std::string group = "tp";
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  {
    const PlaceScope place(WorkPlace{3, Direction::kForward, "down_proj"});
    const at::Tensor x = at::ones({3, 4});
    (void)at::linear(x, x);
    const CollectiveScope scope(group, "all_gather", 96);
  }
  return recorder.stop();
}

std::vector<nlohmann::json> events_of(const std::string& events) {
  const nlohmann::json trace =
      nlohmann::json::parse(chrome_trace_begin() + events + chrome_trace_end());
  return trace["traceEvents"].get<std::vector<nlohmann::json>>();
}

const nlohmann::json& named(const std::vector<nlohmann::json>& events, const std::string& name) {
  for (const nlohmann::json& event : events) {
    if (event["name"] == name) return event;
  }
  ADD_FAILURE() << "no event " << name;
  return events.front();
}

TEST(ChromeTrace, HasTheSpansOfTheStepInIt) {
  const WorkRecording recording = small_recording();
  const auto events = events_of(chrome_events(recording, {2, "a \"host\"", 0}, 7));
  const nlohmann::json& step = named(events, "step 7");
  const double begin = step["ts"];
  const double end = begin + step["dur"].get<double>();
  int64_t num_spans = 0;
  for (const nlohmann::json& event : events) {
    EXPECT_EQ(event["pid"], 2);
    if (event["ph"] != "X") continue;
    ++num_spans;
    EXPECT_GE(event["ts"].get<double>(), begin - 1e-3);
    EXPECT_LE(event["ts"].get<double>() + event["dur"].get<double>(), end + 1e-3);
  }
  EXPECT_EQ(num_spans, std::ssize(recording.tracks[0].spans) + 1);
}

TEST(ChromeTrace, NamesPlacesWithTheirLayerAndCollectivesWithTheirBytes) {
  const auto events = events_of(chrome_events(small_recording(), {0, "a", 0}, 1));
  EXPECT_EQ(named(events, "layer 3 down_proj")["cat"], "place");
  const nlohmann::json& gather = named(events, "all_gather over tp");
  EXPECT_EQ(gather["cat"], "collective");
  EXPECT_EQ(gather["args"]["bytes"], 96);
  EXPECT_EQ(gather["args"]["layer"], 3);
  EXPECT_EQ(named(events, "aten::linear")["args"]["class"], "base_forward");
}

TEST(ChromeTrace, NamesRanksWithTheirHosts) {
  const auto events = events_of(chrome_events(small_recording(), {5, "a \"host\"", 0}, 1));
  EXPECT_EQ(named(events, "process_name")["args"]["name"], "rank 5 (a \"host\")");
  EXPECT_EQ(named(events, "thread_name")["args"]["name"], "training");
}

TEST(ChromeTrace, MovesTimesByTheOffsetOfTheRank) {
  const WorkRecording recording = small_recording();
  const auto events = events_of(chrome_events(recording, {0, "a", 5000 - recording.begin_ns}, 1));
  EXPECT_DOUBLE_EQ(named(events, "step 1")["ts"].get<double>(), 5.0);
}

}  // namespace
}  // namespace molora
