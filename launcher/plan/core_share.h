// Which CPUs of its machine a rank computes on, so that no two ranks share a core and none reaches
// across NUMA nodes without need. A decision without side effects, whatever started the ranks.
#pragma once

#include <cstddef>
#include <vector>

#include "launcher/plan/cpu_topology.h"

namespace molora {

struct CoreShare {
  CpuList cpus;
  size_t num_ranks = 1;  // that compute on these or some of them; 1: they are the rank's own
};

// Of rank `index` of those on one machine, in their order. cpus_of_ranks: what each may run on;
// `nodes`: of what this one may run on (numa_nodes()).
//
// Ranks that may run on the same CPUs share them out by whole cores: where there are at least as
// many ranks as NUMA nodes, each rank stays on one node, neighbours on the same one; else each has
// whole nodes. What a launcher has bound stays: CPUs that are a rank's own, or that overlap in
// part. So does all where a node has fewer cores than ranks. REQUIRES: index is a rank.
CoreShare core_share(const std::vector<CpuList>& cpus_of_ranks, size_t index,
                     const std::vector<NumaNode>& nodes);

}  // namespace molora
