#include "launcher/plan/cpu_topology.h"

#include <sched.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <set>
#include <system_error>

#include <fmt/format.h>

#include "launcher/plan/number_text.h"

namespace molora {

namespace {

namespace fs = std::filesystem;

constexpr int kMostCpus = 1 << 16;

CpuList cpus_of_file(const fs::path& path) {
  std::ifstream file(path);
  std::string list;
  std::getline(file, list);
  return cpus_of_list(list);
}

CpuList common(const CpuList& a, const CpuList& b) {
  CpuList both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

// The hardware threads of one core have the same lowest sibling.
std::vector<CpuList> cores_of(const fs::path& root, const CpuList& cpus) {
  std::map<int, CpuList> cores;
  for (const int cpu : cpus) {
    const fs::path folder = root / fmt::format("sys/devices/system/cpu/cpu{}/topology", cpu);
    const CpuList siblings = cpus_of_file(folder / "thread_siblings_list");
    cores[siblings.empty() ? cpu : siblings.front()].push_back(cpu);
  }
  std::vector<CpuList> result;
  for (auto& [first, threads] : cores) result.push_back(std::move(threads));
  return result;
}

}  // namespace

CpuList affinity_cpus() {
  // As large as the kernel asks for: machines may have more CPUs than a cpu_set_t.
  for (int size = CPU_SETSIZE; size <= kMostCpus; size *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(size));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(size));
    CPU_ZERO_S(bytes, set);
    CpuList cpus;
    if (::sched_getaffinity(0, bytes, set) == 0) {
      for (int cpu = 0; cpu < size; ++cpu) {
        if (CPU_ISSET_S(static_cast<size_t>(cpu), bytes, set)) cpus.push_back(cpu);
      }
    }
    CPU_FREE(set);
    if (!cpus.empty()) return cpus;
  }
  return {0};
}

std::string cpu_list_text(const CpuList& cpus) {
  std::string text;
  for (size_t begin = 0; begin < cpus.size();) {
    size_t end = begin + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    text += fmt::format("{}{}", text.empty() ? "" : ",", cpus[begin]);
    if (end - begin > 1) text += fmt::format("-{}", cpus[end - 1]);
    begin = end;
  }
  return text;
}

CpuList cpus_of_list(std::string_view list) {
  std::set<int> cpus;
  for (size_t begin = 0; begin <= list.size();) {
    const size_t end = std::min(list.find(',', begin), list.size());
    const std::string_view range = list.substr(begin, end - begin);
    const size_t dash = std::min(range.find('-'), range.size());
    const auto low = whole_number(range.substr(0, dash), 0, kMostCpus);
    const auto high =
        dash == range.size() ? low : whole_number(range.substr(dash + 1), 0, kMostCpus);
    if (!low || !high) return {};
    for (int64_t cpu = *low; cpu <= *high; ++cpu) cpus.insert(static_cast<int>(cpu));
    begin = end + 1;
  }
  return {cpus.begin(), cpus.end()};
}

std::vector<NumaNode> numa_nodes(const fs::path& root, const CpuList& usable) {
  std::map<int64_t, CpuList> cpus_of_node;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(root / "sys/devices/system/node", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("node", 0) != 0) continue;
    const auto number = whole_number(name.substr(4), 0, kMostCpus);
    if (!number) continue;
    CpuList cpus = common(cpus_of_file(entry.path() / "cpulist"), usable);
    if (!cpus.empty()) cpus_of_node[*number] = std::move(cpus);
  }
  if (cpus_of_node.empty()) cpus_of_node[0] = usable;
  std::vector<NumaNode> nodes;
  for (const auto& [number, cpus] : cpus_of_node) nodes.push_back({cores_of(root, cpus)});
  return nodes;
}

}  // namespace molora
