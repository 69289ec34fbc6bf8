#include "launcher/agent/memory_events.h"

#include <unistd.h>

#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

// A process in these groups, as /proc shows it.
void write_groups(const TempFolder& folder, const std::string& lines) {
  folder.write("proc/12/cgroup", lines);
}

MemoryEvents events_of(const TempFolder& folder) {
  return MemoryEvents(12, folder / "proc", folder / "cgroup");
}

TEST(MemoryEvents, CountsKillsOfItsGroupInVersionTwo) {
  const TempFolder folder;
  write_groups(folder, "0::/job/step\n");
  folder.write("cgroup/job/step/memory.events", "low 0\nmax 9\noom 1\noom_kill 1\n");
  const MemoryEvents events = events_of(folder);
  EXPECT_EQ(events.killed(), 0);
  folder.write("cgroup/job/step/memory.events", "low 0\nmax 9\noom 2\noom_kill 3\n");
  EXPECT_EQ(events.killed(), 2);
}

TEST(MemoryEvents, CountsKillsOfItsGroupInVersionOne) {
  const TempFolder folder;
  write_groups(folder, "9:cpu,cpuacct:/x\n4:memory:/job\n0::/\n");
  folder.write("cgroup/memory/job/memory.oom_control",
               "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
  const MemoryEvents events = events_of(folder);
  folder.write("cgroup/memory/job/memory.oom_control",
               "oom_kill_disable 0\nunder_oom 0\noom_kill 6\n");
  EXPECT_EQ(events.killed(), 1);
}

TEST(MemoryEvents, InAContainerTheRootStandsForTheGroup) {
  const TempFolder folder;
  write_groups(folder, "0::/../../somewhere/on/the/host\n");
  folder.write("cgroup/memory.events", "oom_kill 0\n");
  const MemoryEvents events = events_of(folder);
  folder.write("cgroup/memory.events", "oom_kill 1\n");
  EXPECT_EQ(events.killed(), 1);
}

TEST(MemoryEvents, WithoutGroupsNothingIsKnown) {
  const TempFolder folder;
  EXPECT_EQ(events_of(folder).killed(), 0);
  write_groups(folder, "no colon here\n0::\n");
  EXPECT_EQ(events_of(folder).killed(), 0);
}

TEST(MemoryEvents, ReadsThoseOfThisMachine) { EXPECT_EQ(MemoryEvents(::getpid()).killed(), 0); }

}  // namespace
}  // namespace molora
