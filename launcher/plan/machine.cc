#include "launcher/plan/machine.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <set>
#include <system_error>

#include "base/host_name.h"
#include "launcher/plan/cgroup_limits.h"
#include "launcher/plan/number_text.h"
#include "launcher/plan/visible_gpus.h"

namespace molora {

namespace {

namespace fs = std::filesystem;

constexpr int kMostCpus = 1 << 16;

// The CPUs that the kernel lets this process run on.
std::vector<int> affinity_cpus() {
  // As large as the kernel asks for: machines may have more CPUs than a cpu_set_t.
  for (int size = CPU_SETSIZE; size <= kMostCpus; size *= 2) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(size));
    if (set == nullptr) break;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(size));
    CPU_ZERO_S(bytes, set);
    std::vector<int> cpus;
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

// The CPUs of a list such as "0-3,8"; what is no list is empty.
std::set<int> cpus_of_list(std::string_view list) {
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
  return cpus;
}

// NUMA nodes that have one of these CPUs; 1 when the kernel does not tell.
int count_numa_nodes(const fs::path& root, const std::vector<int>& usable) {
  std::error_code ignored;
  int count = 0;
  for (const auto& entry : fs::directory_iterator(root / "sys/devices/system/node", ignored)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("node", 0) != 0 || !whole_number(name.substr(4), 0, kMostCpus)) continue;
    std::ifstream file(entry.path() / "cpulist");
    std::string list;
    std::getline(file, list);
    const std::set<int> cpus = cpus_of_list(list);
    const auto is_here = [&](int cpu) { return cpus.count(cpu) != 0; };
    if (std::any_of(usable.begin(), usable.end(), is_here)) ++count;
  }
  return std::max(1, count);
}

uint64_t memory_of(const fs::path& root, const CgroupLimits& limits) {
  std::ifstream file(root / "proc/meminfo");
  uint64_t bytes = 0;
  for (std::string word; file >> word;) {
    uint64_t kibibytes = 0;
    if (word == "MemTotal:" && file >> kibibytes) bytes = kibibytes * 1024;
    if (bytes != 0) break;
  }
  if (!limits.memory_bytes) return bytes;
  return bytes == 0 ? *limits.memory_bytes : std::min(bytes, *limits.memory_bytes);
}

std::vector<std::string> interface_addresses() {
  ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return {};
  std::vector<std::string> addresses;
  for (const ifaddrs* entry = first; entry != nullptr; entry = entry->ifa_next) {
    if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET ||
        (entry->ifa_flags & IFF_LOOPBACK) != 0) {
      continue;
    }
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(entry->ifa_addr, sizeof(sockaddr_in), text.data(), text.size(), nullptr, 0,
                      NI_NUMERICHOST) == 0) {
      addresses.emplace_back(text.data());
    }
  }
  ::freeifaddrs(first);
  return addresses;
}

bool is_address(std::string_view host) {
  return host.find_first_not_of("0123456789.") == std::string_view::npos;
}

}  // namespace

Machine find_machine(const MachineSources& sources) {
  const std::vector<int> cpus = sources.cpus.empty() ? affinity_cpus() : sources.cpus;
  const CgroupLimits limits = find_cgroup_limits(sources.root);
  Machine machine;
  machine.host_name = host_name();
  machine.addresses = interface_addresses();
  machine.num_cores = static_cast<int>(cpus.size());
  if (limits.cores) {
    // Rounded down: one thread more than the quota pays for stops all of them for part of the time.
    const double cores = std::min(std::floor(*limits.cores), static_cast<double>(cpus.size()));
    machine.num_cores = std::max(1, static_cast<int>(cores));
  }
  machine.num_numa_nodes = std::min(count_numa_nodes(sources.root, cpus), machine.num_cores);
  machine.num_gpus = count_visible_gpus(sources.root, sources.environment);
  machine.memory_bytes = memory_of(sources.root, limits);
  machine.is_root = ::geteuid() == 0;
  return machine;
}

bool is_same_host(std::string_view a, std::string_view b) {
  if (a == b) return true;
  if (is_address(a) || is_address(b)) return false;
  if (a.size() > b.size()) std::swap(a, b);
  return !a.empty() && b.substr(0, a.size()) == a && b[a.size()] == '.';
}

bool is_local(const Machine& machine, std::string_view host) {
  if (host == "localhost" || host.rfind("127.", 0) == 0) return true;
  if (is_same_host(machine.host_name, host)) return true;
  return std::find(machine.addresses.begin(), machine.addresses.end(), host) !=
         machine.addresses.end();
}

}  // namespace molora
