#include "worker/compute_threads.h"

#include <sched.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/host_name.h"
#include "comm/mpi_env.h"
#include "launcher/plan/cgroup_limits.h"
#include "launcher/plan/core_share.h"
#include "launcher/plan/environment.h"

namespace molora {

namespace {

// Of the ranks of this machine, and which of them is this one.
struct RankCpus {
  std::vector<CpuList> cpus;
  size_t index = 0;
};

RankCpus cpus_of_ranks(Communicator& world) {
  const std::string host = host_name() + " ";
  const std::vector<std::string> all =
      all_gather_text(world, host + cpu_list_text(affinity_cpus()));
  RankCpus ranks;
  for (size_t rank = 0; rank < all.size(); ++rank) {
    if (!all[rank].starts_with(host)) continue;
    if (rank == static_cast<size_t>(world.rank())) ranks.index = ranks.cpus.size();
    ranks.cpus.push_back(cpus_of_list(std::string_view(all[rank]).substr(host.size())));
  }
  return ranks;
}

// A quota of the group is shared by all ranks of the machine; a thread more than it pays for stops
// all of them for part of the time.
int threads_for(const CoreShare& share, size_t num_ranks_here) {
  double threads =
      std::floor(static_cast<double>(share.cpus.size()) / static_cast<double>(share.num_ranks));
  if (const auto quota = find_cgroup_limits("/").cores) {
    threads = std::min(threads, std::floor(*quota / static_cast<double>(num_ranks_here)));
  }
  return std::max(1, static_cast<int>(threads));
}

bool has_own_placement() {
  const Environment environment = process_environment();
  const auto is_set = [&](const char* name) { return variable(environment, name).has_value(); };
  return is_set("OMP_PROC_BIND") || is_set("OMP_PLACES") || is_set("GOMP_CPU_AFFINITY");
}

// Whether the kernel has done it.
bool bind_to(const CpuList& cpus) {
  const int size = cpus.back() + 1;
  cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(size));
  if (set == nullptr) return false;
  const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(size));
  CPU_ZERO_S(bytes, set);
  for (const int cpu : cpus) CPU_SET_S(static_cast<size_t>(cpu), bytes, set);
  const bool is_bound = sched_setaffinity(0, bytes, set) == 0;
  CPU_FREE(set);
  return is_bound;
}

// The threads that share this one's arithmetic, each on one CPU: else one that is woken often
// starts on the core of the thread that woke it, and the two take turns. This thread stays free, as
// do those that it starts later for other work: they would be bound where it is.
void bind_helpers(const CpuList& cpus) {
  at::parallel_for(0, std::ssize(cpus), 1, [&](int64_t, int64_t) {
    const int thread = at::get_thread_num();
    if (thread > 0) bind_to({cpus[static_cast<size_t>(thread)]});
  });
}

}  // namespace

void set_compute_threads(Communicator& world) {
  const RankCpus ranks = cpus_of_ranks(world);
  const CpuList& mine = ranks.cpus[ranks.index];
  const CoreShare share = core_share(ranks.cpus, ranks.index, numa_nodes("/", mine));
  const int wanted = MpiEnvironment::num_threads_wanted();
  const bool has_own_cores = share.num_ranks == 1 && !has_own_placement();
  const bool is_to_bind =
      has_own_cores && share.cpus != mine && wanted <= static_cast<int>(share.cpus.size());
  std::string bound;
  if (is_to_bind && bind_to(share.cpus)) bound = cpu_list_text(share.cpus);
  at::set_num_threads(wanted > 0 ? wanted : threads_for(share, ranks.cpus.size()));
  const bool has_all = at::get_num_threads() == static_cast<int>(share.cpus.size());
  if (has_own_cores && has_all) bind_helpers(share.cpus);
  if (world.rank() == 0 && !bound.empty()) {
    spdlog::info("ranks keep to cores of their own: rank 0 to CPUs {}, with {} thread{}", bound,
                 at::get_num_threads(), at::get_num_threads() == 1 ? "" : "s");
  }
}

}  // namespace molora
