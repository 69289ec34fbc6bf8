#include "launcher/plan/machine.h"

#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>

#include "base/host_name.h"
#include "launcher/plan/cgroup_limits.h"
#include "launcher/plan/cpu_topology.h"
#include "launcher/plan/visible_gpus.h"

namespace molora {

namespace {

namespace fs = std::filesystem;

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
  const CpuList cpus = sources.cpus.empty() ? affinity_cpus() : sources.cpus;
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
  machine.num_numa_nodes =
      std::min(static_cast<int>(numa_nodes(sources.root, cpus).size()), machine.num_cores);
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
