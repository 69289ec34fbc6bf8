#include "worker/trace_file.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "comm/thread_communicator.h"
#include "io/file.h"
#include "profile/work_recorder.h"
#include "support/expect_throw.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

WorkRecording recorded_collective(const Mesh& mesh) {
  WorkRecorder recorder(WorkClock::kWall);
  recorder.start();
  std::vector<int64_t> all(static_cast<size_t>(mesh.shape().world()));
  const int64_t mine = mesh.world_rank();
  mesh.axis(Axis::kData)
      .all_gather(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
  return recorder.stop();
}

TEST(TraceFile, HoldsWhatEveryRankHasRecorded) {
  const TempFolder folder;
  const auto path = folder.path() / "traces" / "step-3.json";
  run_rank_threads(3, [&](Communicator& world) {
    const Mesh mesh(world, mesh_shape(3, 1, 1));
    write_trace(path, recorded_collective(mesh), 3, mesh);
  });
  const nlohmann::json trace = nlohmann::json::parse(read_file(path));
  std::vector<int> ranks;
  std::vector<double> ends;
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event["name"] != "all_gather over dp") continue;
    ranks.push_back(event["pid"]);
    EXPECT_EQ(event["args"]["bytes"], 16);
    ends.push_back(event["ts"].get<double>() + event["dur"].get<double>());
  }
  EXPECT_EQ(ranks, (std::vector<int>{0, 1, 2}));
  // One clock: all leave the collective after all have entered it.
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event["name"] != "all_gather over dp") continue;
    for (const double end : ends) EXPECT_GT(end, event["ts"].get<double>() - 1e3);
  }
}

TEST(TraceFile, BeginsWithTheFirstRankThatBegins) {
  const TempFolder folder;
  const auto path = folder.path() / "trace.json";
  run_rank_threads(2, [&](Communicator& world) {
    const Mesh mesh(world, mesh_shape(2, 1, 1));
    write_trace(path, recorded_collective(mesh), 1, mesh);
  });
  const nlohmann::json trace = nlohmann::json::parse(read_file(path));
  double first = 1e9;
  for (const nlohmann::json& event : trace["traceEvents"]) {
    if (event["name"] == "step 1") first = std::min(first, event["ts"].get<double>());
  }
  EXPECT_DOUBLE_EQ(first, 0.0);
}

TEST(TraceFile, SaysWhyItCannotBeWritten) {
  const TempFolder folder;
  const Mesh mesh = Mesh::single();
  EXPECT_THROW_WITH(write_trace(folder.path(), recorded_collective(mesh), 1, mesh), IoError,
                    folder.path().string(), "the trace cannot be written");
}

TEST(ClockOffsets, OfThreadsOfOneMachineAreSmall) {
  run_rank_threads(3, [](Communicator& world) {
    const std::vector<int64_t> offsets = clock_offsets(world);
    ASSERT_EQ(offsets.size(), 3U);
    EXPECT_EQ(offsets[0], 0);
    for (const int64_t offset : offsets) EXPECT_LT(std::abs(offset), 1'000'000'000);
  });
}

}  // namespace
}  // namespace molora
