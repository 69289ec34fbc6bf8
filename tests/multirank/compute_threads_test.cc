// Real ranks on this machine, as a user's own mpirun starts them.
#include "worker/compute_threads.h"

#include <stdlib.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "comm/mpi_communicator.h"
#include "launcher/plan/cpu_topology.h"

namespace molora {
namespace {

// What each of the threads of LibTorch may run on.
std::vector<CpuList> cpus_of_threads() {
  std::vector<CpuList> seen(static_cast<size_t>(at::get_num_threads()));
  at::parallel_for(0, std::ssize(seen), 1, [&](int64_t, int64_t) {
    seen[static_cast<size_t>(at::get_thread_num())] = affinity_cpus();
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
  const CpuList own = affinity_cpus();
  ASSERT_LE(at::get_num_threads(), static_cast<int>(own.size()));
  const std::vector<CpuList> of_threads = cpus_of_threads();
  EXPECT_EQ(of_threads.front(), own) << "this thread, and those that it starts for other work";
  for (size_t thread = 1; thread < of_threads.size(); ++thread) {
    const bool has_all = of_threads.size() == own.size();
    EXPECT_EQ(of_threads[thread], has_all ? CpuList{own[thread]} : own) << "thread " << thread;
  }
}

}  // namespace
}  // namespace molora
