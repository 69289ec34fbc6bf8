// Real ranks on this machine, as a user's own mpirun starts them.
#include "worker/compute_threads.h"

#include <stdlib.h>

#include <algorithm>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "comm/mpi_communicator.h"
#include "launcher/plan/cpu_topology.h"

namespace molora {
namespace {

// What the threads of LibTorch may run on, as texts.
std::set<std::string> cpus_of_threads() {
  std::mutex mutex;
  std::set<std::string> seen;
  at::parallel_for(0, 64, 1, [&](int64_t, int64_t) {
    const std::lock_guard lock(mutex);
    seen.insert(cpu_list_text(affinity_cpus()));
  });
  return seen;
}

// In this order: threads are bound once in the life of a process.
TEST(ComputeThreads, KeepToTheirRanksOwnCores) {
  const auto world = make_mpi_world();
  const CpuList before = affinity_cpus();

  setenv("OMP_PROC_BIND", "false", 1);
  set_compute_threads(*world);
  EXPECT_EQ(affinity_cpus(), before) << "the user's word goes first";

  unsetenv("OMP_PROC_BIND");
  unsetenv("OMP_NUM_THREADS");
  set_compute_threads(*world);
  const std::vector<std::string> texts = all_gather_text(*world, cpu_list_text(affinity_cpus()));
  const auto ranks = static_cast<size_t>(world->size());
  size_t num_cores = 0;
  for (const NumaNode& node : numa_nodes("/", before)) num_cores += node.cores.size();
  if (ranks > num_cores) {
    EXPECT_EQ(affinity_cpus(), before);
    EXPECT_EQ(at::get_num_threads(), std::max<int>(1, static_cast<int>(before.size() / ranks)));
    return;
  }
  std::multiset<int> used;
  for (const std::string& text : texts) {
    const CpuList cpus = cpus_of_list(text);
    used.insert(cpus.begin(), cpus.end());
  }
  EXPECT_EQ(std::set<int>(used.begin(), used.end()).size(), used.size()) << "a CPU of two ranks";
  EXPECT_EQ(cpus_of_threads(), std::set<std::string>{cpu_list_text(affinity_cpus())});
  EXPECT_LE(at::get_num_threads(), static_cast<int>(affinity_cpus().size()));
}

}  // namespace
}  // namespace molora
