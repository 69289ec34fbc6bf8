#include "launcher/plan/launch_plan.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "launcher/plan/rank_count.h"
#include "launcher/plan/spread_ranks.h"

namespace molora {

namespace {

using Launcher = LaunchOptions::Launcher;

Launcher launcher_in_allocation(Launcher asked, const SlurmAllocation& slurm,
                                const Environment& environment) {
  if (asked == Launcher::kMpirun) return asked;
  const bool has_srun = !program_on_path(environment, "srun").empty();
  if (asked == Launcher::kSrun && !has_srun) {
    throw ConfigError(fmt::format(
        "--launcher srun: srun is not on PATH, though this is Slurm allocation {}; install Slurm's "
        "client or write --launcher mpirun",
        slurm.job_id));
  }
  return has_srun ? Launcher::kSrun : Launcher::kMpirun;
}

Launcher choose_launcher(const LaunchPlan& plan, Launcher asked,
                         const std::optional<SlurmAllocation>& slurm,
                         const Environment& environment) {
  if (asked == Launcher::kNone) {
    if (plan.num_ranks() == 1 && plan.is_local) return asked;
    throw ConfigError(fmt::format(
        "--launcher none runs one rank in this process, but the job has {} on {}; leave --launcher "
        "out",
        counted(static_cast<size_t>(plan.num_ranks()), "rank"),
        plan.is_local ? "this host" : "other hosts"));
  }
  if (slurm) return launcher_in_allocation(asked, *slurm, environment);
  if (asked == Launcher::kSrun) {
    throw ConfigError(
        "--launcher srun needs a Slurm allocation, but SLURM_JOB_ID is not set; start molora "
        "inside of sbatch or salloc, or write --launcher mpirun");
  }
  const bool is_plain = plan.num_ranks() == 1 && plan.is_local && plan.launcher_arguments.empty();
  return asked == Launcher::kAuto && is_plain ? Launcher::kNone : Launcher::kMpirun;
}

// The cores of the smallest host that has ranks.
int cores_of_hosts(const LaunchPlan& plan, const Machine& local,
                   const std::optional<SlurmAllocation>& slurm) {
  int cores = 0;
  for (const Host& host : plan.hosts) {
    const SlurmNode* node = slurm ? find_node(*slurm, host.name) : nullptr;
    const int here = node != nullptr && node->cpus > 0 ? node->cpus : local.num_cores;
    cores = cores == 0 ? here : std::min(cores, here);
  }
  return std::max(1, cores);
}

bool is_on_local_host(const LaunchPlan& plan) {
  return plan.hosts.size() == 1 && plan.hosts[0].name == plan.local_host;
}

std::string find_local(const std::vector<Host>& hosts, const Machine& local) {
  for (const Host& host : hosts) {
    if (is_local(local, host.name)) return host.name;
  }
  return {};
}

}  // namespace

int LaunchPlan::num_ranks() const { return sum_of_slots(hosts); }

int LaunchPlan::most_ranks_per_host() const {
  int most = 0;
  for (const Host& host : hosts) most = std::max(most, host.slots);
  return most;
}

LaunchPlan make_launch_plan(const LaunchOptions& options, const ParallelConfig& parallel,
                            const Machine& local, const std::optional<SlurmAllocation>& slurm,
                            const Environment& environment) {
  const RankLayout layout(parallel);
  const int seen = slurm && slurm->gpus_on_node > 0 ? slurm->gpus_on_node : local.num_gpus;
  const int gpus = options.may_use_gpus ? seen : 0;
  const RankCount count = count_ranks(options, layout, local, slurm, gpus);
  const auto hosts = spread_ranks(count.num_ranks, layout.group, count.spread_over);
  MOLORA_CHECK(hosts.has_value(), "{} ranks were found to fit", count.num_ranks);
  LaunchPlan plan;
  plan.hosts = *hosts;
  plan.room = count.room;
  plan.local_host = find_local(plan.room, local);
  plan.is_local = is_on_local_host(plan);
  plan.is_for_gpus = gpus > 0;
  plan.cores_per_host = cores_of_hosts(plan, local, slurm);
  plan.cpus_per_task = slurm ? slurm->cpus_per_task : 0;
  plan.slurm_job = slurm ? slurm->job_id : "";
  plan.why = count.why;
  plan.working_folder = std::filesystem::current_path();
  plan.launcher_arguments = options.launcher_arguments;
  plan.launcher = choose_launcher(plan, options.launcher, slurm, environment);
  return plan;
}

std::optional<LaunchPlan> without_hosts(const LaunchPlan& plan, const ParallelConfig& parallel,
                                        const std::set<std::string>& hosts) {
  const RankLayout layout(parallel);
  LaunchPlan smaller = plan;
  smaller.room.clear();
  std::string names;
  for (const Host& host : plan.room) {
    if (hosts.count(host.name) == 0) {
      smaller.room.push_back(host);
    } else {
      names += (names.empty() ? "" : ", ") + host.name;
    }
  }
  if (names.empty()) return plan;
  if (smaller.room.empty()) return std::nullopt;
  // A host that any number fits on gets as many as the fullest one so far, more only where the
  // layout needs them.
  std::vector<Host> spread_over = with_numbers(smaller.room, plan.most_ranks_per_host());
  const int fitting = std::min(plan.num_ranks(), sum_of_slots(spread_over));
  int num_ranks = fitting / layout.unit * layout.unit;
  if (num_ranks == 0 && is_unlimited(smaller.room)) {
    num_ranks = layout.unit;
    spread_over = smaller.room;
  }
  if (num_ranks == 0) return std::nullopt;
  const auto placed = spread_ranks(num_ranks, layout.group, spread_over);
  MOLORA_CHECK(placed.has_value(), "{} ranks were found to fit", num_ranks);
  smaller.hosts = *placed;
  smaller.is_local = is_on_local_host(smaller);
  smaller.why += ", without " + names;
  return smaller;
}

std::string describe(const LaunchPlan& plan) {
  constexpr size_t kMostNamed = 8;
  std::string names;
  for (size_t i = 0; i < std::min(plan.hosts.size(), kMostNamed); ++i) {
    names += fmt::format("{}{} {}", i == 0 ? "" : ", ", plan.hosts[i].name, plan.hosts[i].slots);
  }
  if (plan.hosts.size() > kMostNamed) {
    names += fmt::format(" and {} more", plan.hosts.size() - kMostNamed);
  }
  std::string start = "started directly";
  if (plan.launcher == Launcher::kMpirun) start = "started by mpirun";
  if (plan.launcher == Launcher::kSrun) start = "started by srun";
  if (!plan.slurm_job.empty()) start += fmt::format(" (Slurm allocation {})", plan.slurm_job);
  return fmt::format("{} on {} ({}): {}, {}",
                     counted(static_cast<size_t>(plan.num_ranks()), "rank"),
                     counted(plan.hosts.size(), "host"), names, plan.why, start);
}

}  // namespace molora
