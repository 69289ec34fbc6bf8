#include "worker/rank_meter.h"

#include <sched.h>

#include <array>
#include <chrono>
#include <fstream>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "base/host_name.h"
#include "comm/thread_communicator.h"

namespace molora {
namespace {

void work_for(double seconds) {
  const auto begun = std::chrono::steady_clock::now();
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count() <
         seconds) {
  }
}

// A step of that much work, after which the ranks wait for each other. Returns its seconds.
double step(const Mesh& mesh, double work) {
  const auto begun = std::chrono::steady_clock::now();
  work_for(work);
  mesh.axis(Axis::kAll).barrier();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
}

TEST(RankMeter, TellsWorkFromWaiting) {
  run_rank_threads(2, [](Communicator& world) {
    const Mesh mesh(world, mesh_shape(2, 1, 1));
    RankMeter meter(mesh);
    double seconds = 0.0;
    for (int i = 0; i < 3; ++i) {
      const double took = step(mesh, world.rank() == 0 ? 0.0 : 0.04);
      meter.step_done(took, 100 + world.rank());
      seconds += took;
    }
    const RankUsages usages = meter.of_all_ranks();
    EXPECT_EQ(usages.num_steps, 3);
    ASSERT_EQ(usages.ranks.size(), 2u);
    EXPECT_EQ(usages.ranks[0].host, host_name());
    EXPECT_EQ(usages.ranks[0].tokens, 300);
    EXPECT_EQ(usages.ranks[1].tokens, 303);
    EXPECT_GE(usages.ranks[1].work_seconds, 0.12);
    EXPECT_GE(usages.ranks[0].waited_seconds, 0.06);
    const RankUsage& mine = usages.ranks[static_cast<size_t>(world.rank())];
    EXPECT_NEAR(mine.work_seconds + mine.waited_seconds, seconds, 1e-9) << "nothing is lost";
    EXPECT_GT(mine.peak_memory_bytes, uint64_t{1} << 20);
  });
}

TEST(RankMeter, WhatIsNoStepIsNotCounted) {
  run_rank_threads(2, [](Communicator& world) {
    const Mesh mesh(world, mesh_shape(2, 1, 1));
    RankMeter meter(mesh);
    step(mesh, world.rank() == 0 ? 0.0 : 0.05);  // an evaluation, say
    meter.restart();
    meter.step_done(step(mesh, 0.0), 1);
    const RankUsages usages = meter.of_all_ranks();
    EXPECT_LT(usages.ranks[0].waited_seconds, 0.05);
    EXPECT_LT(usages.ranks[1].work_seconds, 0.05);
  });
}

TEST(RankMeter, EachReportIsOfTheStepsSinceTheLast) {
  const Mesh mesh = Mesh::single();
  RankMeter meter(mesh);
  meter.step_done(2.0, 10);
  meter.step_done(3.0, 10);
  EXPECT_EQ(meter.of_all_ranks().num_steps, 2);
  meter.step_done(4.0, 7);
  const RankUsages second = meter.of_all_ranks();
  EXPECT_EQ(second.num_steps, 1);
  EXPECT_EQ(second.ranks[0].tokens, 7);
  EXPECT_NEAR(second.ranks[0].work_seconds, 4.0, 1e-6);
  EXPECT_EQ(meter.total().num_steps, 3);
  EXPECT_EQ(meter.total().ranks[0].tokens, 27);
  EXPECT_EQ(meter.of_all_ranks().num_steps, 0);
}

// Two threads that never sleep, on one processor.
TEST(ProcessCountersTest, CountTheWaitForAProcessor) {
  if (!std::ifstream("/proc/thread-self/schedstat")) GTEST_SKIP() << "the kernel does not tell";
  cpu_set_t allowed;
  ASSERT_EQ(::sched_getaffinity(0, sizeof(allowed), &allowed), 0);
  cpu_set_t one;
  CPU_ZERO(&one);
  for (size_t cpu = 0; CPU_COUNT(&one) == 0; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &one);
  }
  std::array<double, 2> waited{};
  std::array<std::thread, 2> threads;
  for (size_t i = 0; i < threads.size(); ++i) {
    threads.at(i) = std::thread([&, i] {
      ASSERT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
      const ProcessCounters before = ProcessCounters::now();
      work_for(0.2);
      waited.at(i) = ProcessCounters::now().run_queue_seconds - before.run_queue_seconds;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_GE(waited[0] + waited[1], 0.1);
}

TEST(ProcessCountersTest, KnowThePeakOfTheMemory) {
  const uint64_t before = ProcessCounters::now().peak_memory_bytes;
  EXPECT_GT(before, uint64_t{1} << 20);
  const std::vector<char> memory(before + (uint64_t{64} << 20), 1);
  EXPECT_GE(ProcessCounters::now().peak_memory_bytes, memory.size());
}

}  // namespace
}  // namespace molora
