#include "launcher/plan/rank_count.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "base/error.h"

namespace molora {

namespace {

// The hosts that may be used, and how many ranks the user or Slurm wants there.
struct Candidates {
  std::vector<Host> room;    // slots: ranks that fit
  std::vector<Host> wanted;  // the same hosts; slots: ranks to start when --ranks does not say it
  std::string source;        // "the slots of --hosts"
};

std::vector<Host> named_hosts(const LaunchOptions& options) {
  if (!options.hosts.empty() && !options.hostfile.empty()) {
    throw ConfigError(fmt::format("--hosts {} and --hostfile {} were both given; expected one",
                                  options.hosts, options.hostfile.string()));
  }
  if (!options.hosts.empty()) return parse_hosts(options.hosts);
  if (!options.hostfile.empty()) return read_hostfile(options.hostfile);
  return {};
}

// Slurm starts one task for each cpus_per_task of the CPUs that it has granted, and as many tasks
// as were asked for.
int room_of(const SlurmNode& node, const SlurmAllocation& slurm) {
  return std::max(slurm.has_tasks ? node.tasks : 0, node.cpus / std::max(1, slurm.cpus_per_task));
}

Candidates slurm_candidates(const std::vector<Host>& named, const SlurmAllocation& slurm) {
  Candidates candidates;
  candidates.source = named.empty() ? "the tasks of the allocation" : "the slots of the hosts";
  const auto add = [&](const SlurmNode& node, int wanted) {
    candidates.room.push_back({node.name, std::max(wanted, room_of(node, slurm))});
    candidates.wanted.push_back({node.name, wanted});
  };
  for (const Host& host : named) {
    const SlurmNode* node = find_node(slurm, host.name);
    if (node == nullptr) {
      throw ConfigError(fmt::format(
          "host {} is not one of the {} of Slurm allocation {}; name hosts of the allocation, or "
          "none",
          host.name, counted(slurm.nodes.size(), "node"), slurm.job_id));
    }
    const int tasks = slurm.has_tasks ? node->tasks : kUnknownSlots;
    add(*node, host.slots == kUnknownSlots ? tasks : host.slots);
  }
  if (!named.empty()) return candidates;
  for (const SlurmNode& node : slurm.nodes) {
    if (!slurm.has_tasks) add(node, kUnknownSlots);
    if (slurm.has_tasks && node.tasks > 0) add(node, node.tasks);
  }
  return candidates;
}

Candidates find_candidates(const LaunchOptions& options, const Machine& local,
                           const std::optional<SlurmAllocation>& slurm) {
  const std::vector<Host> named = named_hosts(options);
  if (slurm) return slurm_candidates(named, *slurm);
  if (named.empty()) {
    const std::vector<Host> here = {{local.host_name, kUnknownSlots}};
    return {here, here, ""};
  }
  const std::string origin = options.hosts.empty() ? options.hostfile.string() : "--hosts";
  return {named, named, "the slots of " + origin};
}

// The multiples of the unit around a number of ranks that have room, as --ranks to write.
std::string ranks_that_would_do(int num_ranks, int unit, const std::vector<Host>& room) {
  const int below = num_ranks / unit * unit;
  const int above = below + unit;
  std::string choice = below > 0 ? fmt::format("--ranks {}", below) : "";
  if (is_unlimited(room) || above <= sum_of_slots(room)) {
    choice += fmt::format("{}--ranks {}", choice.empty() ? "" : " or ", above);
  }
  return choice;
}

void check_multiple(const RankCount& count, const RankLayout& layout) {
  if (count.num_ranks % layout.unit == 0) return;
  const std::string choice = ranks_that_would_do(count.num_ranks, layout.unit, count.room);
  throw ConfigError(fmt::format(
      "{} ({}) cannot be laid out: {} need a multiple of {}; write {}",
      counted(static_cast<size_t>(count.num_ranks), "rank"), count.why, layout.text, layout.unit,
      choice.empty() ? "smaller values there, or name hosts with more room"
                     : choice + ", or other values there"));
}

void check_fit(const RankCount& count) {
  const int fitting = sum_of_slots(count.spread_over);
  if (is_unlimited(count.spread_over) || count.num_ranks <= fitting) return;
  const size_t hosts = count.spread_over.size();
  throw ConfigError(
      fmt::format("{} ({}) do not fit: {} {} room for {}; write --ranks {} or less, or give more "
                  "slots or hosts",
                  counted(static_cast<size_t>(count.num_ranks), "rank"), count.why,
                  counted(hosts, "host"), hosts == 1 ? "has" : "have", fitting, fitting));
}

// Of hosts that were given without numbers.
RankCount one_for_each(const char* thing, int each, const Candidates& candidates) {
  RankCount count;
  count.why = fmt::format("one for each {}", thing);
  count.spread_over = with_numbers(candidates.wanted, each);
  count.room = candidates.room;
  count.num_ranks = sum_of_slots(count.spread_over);
  return count;
}

// A GPU without a rank would be paid for in vain, so the number of GPUs is never rounded.
RankCount count_gpus(const Candidates& candidates, const RankLayout& layout, int gpus) {
  RankCount count = one_for_each("GPU", gpus, candidates);
  for (const Host& host : candidates.room) {
    if (host.slots != kUnknownSlots && host.slots < gpus) {
      throw ConfigError(fmt::format(
          "host {} has {}, but room for {} in its slots or CPUs; give it a slot or CPU for each "
          "GPU, or write --ranks",
          host.name, counted(static_cast<size_t>(gpus), "GPU"),
          counted(static_cast<size_t>(host.slots), "rank")));
    }
  }
  count.room = count.spread_over;
  check_multiple(count, layout);
  return count;
}

RankCount count_numa_nodes(const Candidates& candidates, const RankLayout& layout, int numa) {
  RankCount count = one_for_each("NUMA node", numa, candidates);
  for (size_t i = 0; i < count.room.size(); ++i) {
    int& slots = count.spread_over[i].slots;
    if (count.room[i].slots != kUnknownSlots) slots = std::min(slots, count.room[i].slots);
  }
  count.num_ranks = sum_of_slots(count.spread_over) / layout.unit * layout.unit;
  if (count.num_ranks > 0) return count;
  count.num_ranks = layout.unit;
  count.why = "as many as the layout needs";
  count.spread_over = candidates.room;
  check_fit(count);
  return count;
}

}  // namespace

RankLayout::RankLayout(const ParallelConfig& parallel)
    : group(static_cast<int>(parallel.tensor_parallel())),
      unit(std::lcm(group, static_cast<int>(parallel.expert_parallel()))),
      text(fmt::format("parallel.tensor_parallel {} and parallel.expert_parallel {}", group,
                       parallel.expert_parallel())) {}

RankCount count_ranks(const LaunchOptions& options, const RankLayout& layout, const Machine& local,
                      const std::optional<SlurmAllocation>& slurm, int gpus) {
  const Candidates candidates = find_candidates(options, local, slurm);
  const bool is_one = options.launcher == LaunchOptions::Launcher::kNone && options.num_ranks == 0;
  if (is_one || options.num_ranks > 0) {
    RankCount count = {options.num_ranks, "--ranks", candidates.room, candidates.room};
    if (is_one) count.num_ranks = 1;
    if (is_one) count.why = "--launcher none";
    check_fit(count);
    check_multiple(count, layout);
    return count;
  }
  if (!is_unlimited(candidates.wanted)) {
    RankCount count = {sum_of_slots(candidates.wanted), candidates.source, candidates.wanted,
                       candidates.wanted};
    check_multiple(count, layout);
    return count;
  }
  return gpus > 0 ? count_gpus(candidates, layout, gpus)
                  : count_numa_nodes(candidates, layout, local.num_numa_nodes);
}

const SlurmNode* find_node(const SlurmAllocation& slurm, const std::string& name) {
  const auto found =
      std::find_if(slurm.nodes.begin(), slurm.nodes.end(),
                   [&](const SlurmNode& node) { return is_same_host(node.name, name); });
  return found == slurm.nodes.end() ? nullptr : &*found;
}

int sum_of_slots(const std::vector<Host>& hosts) {
  return std::accumulate(hosts.begin(), hosts.end(), 0,
                         [](int sum, const Host& host) { return sum + host.slots; });
}

bool is_unlimited(const std::vector<Host>& hosts) {
  return std::any_of(hosts.begin(), hosts.end(),
                     [](const Host& host) { return host.slots == kUnknownSlots; });
}

std::vector<Host> with_numbers(std::vector<Host> hosts, int slots) {
  for (Host& host : hosts) {
    if (host.slots == kUnknownSlots) host.slots = slots;
  }
  return hosts;
}

std::string counted(size_t count, const char* thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

}  // namespace molora
