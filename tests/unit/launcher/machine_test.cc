#include "launcher/plan/machine.h"

#include <sched.h>

#include <string>

#include <gtest/gtest.h>

#include "base/host_name.h"
#include "launcher/plan/cgroup_limits.h"
#include "launcher/plan/visible_gpus.h"
#include "support/temp_folder.h"

namespace molora {
namespace {

using testing::TempFolder;

constexpr uint64_t kGiB = uint64_t{1} << 30;

// A machine of eight CPUs on two NUMA nodes.
void write_two_nodes(const TempFolder& root) {
  root.write("sys/devices/system/node/node0/cpulist", "0-3\n");
  root.write("sys/devices/system/node/node1/cpulist", "4,5-7\n");
  root.write("sys/devices/system/node/node2/cpulist", "\n");  // memory alone
  root.write("sys/devices/system/node/possible", "0-2\n");
  root.write("proc/meminfo", "MemTotal:       67108864 kB\nMemFree:        1 kB\n");
}

Machine machine_of(const TempFolder& root, const std::vector<int>& cpus,
                   const Environment& environment = {}) {
  return find_machine({root.path(), cpus, environment});
}

void write_gpus(const TempFolder& root, int count) {
  for (int gpu = 0; gpu < count; ++gpu) {
    const std::string number = std::to_string(gpu);
    root.write("proc/driver/nvidia/gpus/0000:0" + number + ":00.0/information",
               "Model: \t\t NVIDIA H100\nGPU UUID: \t GPU-" + number + number + "aa\n");
    root.write("dev/nvidia" + number, "");
  }
  root.write("dev/nvidiactl", "");
  root.write("dev/nvidia-uvm", "");
}

int gpus_seen(const TempFolder& root, const std::string& visible) {
  return count_visible_gpus(root.path(), {{"CUDA_VISIBLE_DEVICES", visible}});
}

TEST(Machine, CountsCoresNumaNodesAndMemory) {
  const TempFolder root;
  write_two_nodes(root);
  const Machine machine = machine_of(root, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(machine.num_cores, 8);
  EXPECT_EQ(machine.num_numa_nodes, 2);
  EXPECT_EQ(machine.memory_bytes, 64 * kGiB);
  EXPECT_EQ(machine.num_gpus, 0);
  EXPECT_EQ(machine.host_name, host_name());
}

TEST(Machine, OnlyNumaNodesWithUsableCoresCount) {
  const TempFolder root;
  write_two_nodes(root);
  EXPECT_EQ(machine_of(root, {5, 6}).num_numa_nodes, 1);
  EXPECT_EQ(machine_of(root, {3, 4}).num_numa_nodes, 2);
}

TEST(Machine, WhatTheKernelDoesNotTellCountsAsOne) {
  const TempFolder root;
  const Machine machine = machine_of(root, {0, 1});
  EXPECT_EQ(machine.num_cores, 2);
  EXPECT_EQ(machine.num_numa_nodes, 1);
  EXPECT_EQ(machine.memory_bytes, 0u);
}

TEST(Machine, DamagedListsOfCpusAreNoNode) {
  const TempFolder root;
  root.write("sys/devices/system/node/node0/cpulist", "0-x\n");
  root.write("sys/devices/system/node/nodeX/cpulist", "0-1\n");
  root.write("sys/devices/system/node/node1/cpulist", "0-1\n");
  EXPECT_EQ(machine_of(root, {0, 1}).num_numa_nodes, 1);
}

TEST(Machine, AQuotaOfTheGroupCutsTheCoresAndIsRoundedDown) {
  const TempFolder root;
  write_two_nodes(root);
  root.write("proc/self/cgroup", "0::/job\n");
  root.write("sys/fs/cgroup/job/cpu.max", "390000 100000\n");
  EXPECT_EQ(machine_of(root, {0, 1, 2, 3, 4, 5, 6, 7}).num_cores, 3);
  root.write("sys/fs/cgroup/job/cpu.max", "50000 100000\n");
  const Machine half = machine_of(root, {0, 1, 2, 3, 4, 5, 6, 7});
  EXPECT_EQ(half.num_cores, 1);
  EXPECT_EQ(half.num_numa_nodes, 1);
}

TEST(Machine, ALimitOfTheGroupCutsTheMemory) {
  const TempFolder root;
  write_two_nodes(root);
  root.write("proc/self/cgroup", "0::/\n");
  root.write("sys/fs/cgroup/memory.max", std::to_string(16 * kGiB));
  EXPECT_EQ(machine_of(root, {0}).memory_bytes, 16 * kGiB);
  root.write("sys/fs/cgroup/memory.max", std::to_string(128 * kGiB));
  EXPECT_EQ(machine_of(root, {0}).memory_bytes, 64 * kGiB);
}

TEST(Machine, ThisMachineHasTheCoresThatTheKernelGives) {
  cpu_set_t set;
  ASSERT_EQ(::sched_getaffinity(0, sizeof set, &set), 0);
  const Machine machine = find_machine();
  EXPECT_GE(machine.num_cores, 1);
  EXPECT_LE(machine.num_cores, CPU_COUNT(&set));
  EXPECT_LE(machine.num_numa_nodes, machine.num_cores);
  EXPECT_GT(machine.memory_bytes, 0u);
}

TEST(Machine, KnowsItselfByNameAddressAndLoopback) {
  Machine machine;
  machine.host_name = "n1.cluster.org";
  machine.addresses = {"10.0.0.1"};
  EXPECT_TRUE(is_local(machine, "n1"));
  EXPECT_TRUE(is_local(machine, "n1.cluster.org"));
  EXPECT_TRUE(is_local(machine, "localhost"));
  EXPECT_TRUE(is_local(machine, "127.0.0.1"));
  EXPECT_TRUE(is_local(machine, "10.0.0.1"));
  EXPECT_FALSE(is_local(machine, "n11"));
  EXPECT_FALSE(is_local(machine, "n1.elsewhere.org"));
  EXPECT_FALSE(is_local(machine, "10.0.0.2"));
  EXPECT_FALSE(is_local(machine, ""));
}

TEST(Machine, AddressesAreTheSameOnlyAsAWhole) {
  EXPECT_TRUE(is_same_host("10.0.0.1", "10.0.0.1"));
  EXPECT_FALSE(is_same_host("10.0", "10.0.0.1"));
  EXPECT_TRUE(is_same_host("n1.a.org", "n1"));
}

TEST(CgroupLimits, TheTightestOfTheGroupsAboveCounts) {
  const TempFolder root;
  root.write("proc/self/cgroup", "0::/a/b\n");
  root.write("sys/fs/cgroup/a/b/cpu.max", "max 100000\n");
  root.write("sys/fs/cgroup/a/cpu.max", "200000 100000\n");
  root.write("sys/fs/cgroup/cpu.max", "400000 100000\n");
  root.write("sys/fs/cgroup/a/b/memory.max", "4096\n");
  root.write("sys/fs/cgroup/a/memory.max", "max\n");
  const CgroupLimits limits = find_cgroup_limits(root.path());
  EXPECT_EQ(limits.cores, 2.0);
  EXPECT_EQ(limits.memory_bytes, 4096u);
}

TEST(CgroupLimits, VersionOneIsReadByController) {
  const TempFolder root;
  root.write("proc/self/cgroup", "7:cpu,cpuacct:/job\n4:memory:/job\n3:cpuset:/job\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_quota_us", "250000\n");
  root.write("sys/fs/cgroup/cpu,cpuacct/job/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "8192\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  const CgroupLimits limits = find_cgroup_limits(root.path());
  EXPECT_EQ(limits.cores, 2.5);
  EXPECT_EQ(limits.memory_bytes, 8192u);
}

TEST(CgroupLimits, InAContainerTheMountIsTheGroup) {
  const TempFolder root;
  root.write("proc/self/cgroup", "1:cpu:/docker/0123\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "100000\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  EXPECT_EQ(find_cgroup_limits(root.path()).cores, 1.0);
}

TEST(CgroupLimits, NoLimitIsNone) {
  const TempFolder root;
  EXPECT_FALSE(find_cgroup_limits(root.path()).cores);
  root.write("proc/self/cgroup", "1:cpu:/\n2:memory:/\nnonsense\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n");
  root.write("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n");
  root.write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
  EXPECT_FALSE(find_cgroup_limits(root.path()).cores);
  EXPECT_FALSE(find_cgroup_limits(root.path()).memory_bytes);
}

TEST(VisibleGpus, AreThoseOfTheDriverUnlessTheUserNamesSome) {
  const TempFolder root;
  write_gpus(root, 4);
  EXPECT_EQ(count_visible_gpus(root.path(), {}), 4);
  EXPECT_EQ(gpus_seen(root, "0,2"), 2);
  EXPECT_EQ(gpus_seen(root, "3"), 1);
}

TEST(VisibleGpus, NoneAreLeftByNothingAndByMinusOne) {
  const TempFolder root;
  write_gpus(root, 4);
  EXPECT_EQ(gpus_seen(root, ""), 0);
  EXPECT_EQ(gpus_seen(root, "-1"), 0);
  EXPECT_EQ(gpus_seen(root, "none"), 0);
}

TEST(VisibleGpus, CountUpToTheFirstThatIsNotThere) {
  const TempFolder root;
  write_gpus(root, 4);
  EXPECT_EQ(gpus_seen(root, "0,1,7,2"), 2);
  EXPECT_EQ(gpus_seen(root, "0,-1,1"), 1);
  EXPECT_EQ(gpus_seen(root, "1,1,2"), 1);
}

TEST(VisibleGpus, AreKnownByTheBeginningOfTheirUuid) {
  const TempFolder root;
  write_gpus(root, 4);
  EXPECT_EQ(gpus_seen(root, "GPU-00aa,GPU-22"), 2);
  EXPECT_EQ(gpus_seen(root, "GPU-00aa,GPU-99"), 1);
  EXPECT_EQ(gpus_seen(root, "GPU-,GPU-00aa"), 0);  // could be any of them
}

TEST(VisibleGpus, UuidsThatCannotBeCheckedAreBelieved) {
  const TempFolder root;
  for (const char* device : {"dev/nvidia0", "dev/nvidia1"}) root.write(device, "");
  EXPECT_EQ(gpus_seen(root, "GPU-1,GPU-2"), 2);
  EXPECT_EQ(gpus_seen(root, "GPU-1,GPU-2,GPU-3"), 2);
}

TEST(VisibleGpus, OfMigDevicesAProcessSeesOne) {
  const TempFolder root;
  write_gpus(root, 2);
  EXPECT_EQ(gpus_seen(root, "MIG-1,MIG-2,MIG-3"), 1);
}

TEST(VisibleGpus, AContainerHasThoseOfItsDevices) {
  const TempFolder root;
  write_gpus(root, 4);
  std::filesystem::remove(root / "dev/nvidia2");
  std::filesystem::remove(root / "dev/nvidia3");
  EXPECT_EQ(count_visible_gpus(root.path(), {}), 2);
}

TEST(VisibleGpus, NoneWithoutADriver) {
  const TempFolder root;
  EXPECT_EQ(gpus_seen(root, "0,1"), 0);
}

}  // namespace
}  // namespace molora
