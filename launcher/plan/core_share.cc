#include "launcher/plan/core_share.h"

#include <algorithm>
#include <utility>

namespace molora {

namespace {

bool overlap(const CpuList& a, const CpuList& b) {
  return std::any_of(a.begin(), a.end(),
                     [&](int cpu) { return std::binary_search(b.begin(), b.end(), cpu); });
}

// Part `index` of `count` nearly equal ones.
struct Part {
  size_t begin, end;
};
Part part_of(size_t whole, size_t index, size_t count) {
  return {whole * index / count, whole * (index + 1) / count};
}

CpuList cpus_of(const std::vector<CpuList>& cores, const Part& part) {
  CpuList cpus;
  for (size_t core = part.begin; core < part.end; ++core) {
    cpus.insert(cpus.end(), cores[core].begin(), cores[core].end());
  }
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

// Whole nodes for each rank.
CpuList share_of_nodes(const std::vector<NumaNode>& nodes, size_t index, size_t count) {
  const Part part = part_of(nodes.size(), index, count);
  CpuList cpus;
  for (size_t node = part.begin; node < part.end; ++node) {
    const CpuList more = cpus_of(nodes[node].cores, {0, nodes[node].cores.size()});
    cpus.insert(cpus.end(), more.begin(), more.end());
  }
  std::sort(cpus.begin(), cpus.end());
  return cpus;
}

// A part of one node for each rank; empty when a node has fewer cores than ranks.
CpuList share_of_one_node(const std::vector<NumaNode>& nodes, size_t index, size_t count) {
  for (size_t node = 0; node < nodes.size(); ++node) {
    const Part ranks = part_of(count, node, nodes.size());
    const size_t here = ranks.end - ranks.begin;
    if (nodes[node].cores.size() < here) return {};
  }
  for (size_t node = 0; node < nodes.size(); ++node) {
    const Part ranks = part_of(count, node, nodes.size());
    if (index < ranks.begin || index >= ranks.end) continue;
    const std::vector<CpuList>& cores = nodes[node].cores;
    return cpus_of(cores, part_of(cores.size(), index - ranks.begin, ranks.end - ranks.begin));
  }
  return {};
}

}  // namespace

CoreShare core_share(const std::vector<CpuList>& cpus_of_ranks, size_t index,
                     const std::vector<NumaNode>& nodes) {
  const CpuList& mine = cpus_of_ranks[index];
  size_t num_overlapping = 0;
  size_t num_same = 0;
  size_t before = 0;
  for (size_t rank = 0; rank < cpus_of_ranks.size(); ++rank) {
    if (overlap(cpus_of_ranks[rank], mine)) ++num_overlapping;
    if (cpus_of_ranks[rank] != mine) continue;
    ++num_same;
    if (rank < index) ++before;
  }
  if (num_overlapping > num_same) return {mine, num_overlapping};
  CpuList share = num_same < nodes.size() ? share_of_nodes(nodes, before, num_same)
                                          : share_of_one_node(nodes, before, num_same);
  if (share.empty()) return {mine, num_same};
  return {std::move(share), 1};
}

}  // namespace molora
