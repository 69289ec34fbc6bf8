#include "launcher/plan/launch_environment.h"

#include <algorithm>
#include <string>

#include <fmt/format.h>

namespace molora {

namespace {

using Launcher = LaunchOptions::Launcher;

// Bridges of containers and virtual machines: up on every host, with the same addresses, and
// leading nowhere.
constexpr char kBridges[] = "docker0,virbr0";
// The default of Open MPI, which a value of our own replaces.
constexpr char kNoNetworks[] = "127.0.0.1/8,sppp";

// A dead link is noticed after kIdle + kProbes * kInterval = 25 seconds instead of 480, before the
// default heartbeat_timeout; an outage of a few seconds is outlived. Without it mpirun goes on
// waiting for a host that is gone, and the daemon there keeps its ranks.
constexpr int kIdleSeconds = 10;
constexpr int kIntervalSeconds = 5;
constexpr int kProbes = 3;

class Settings {
 public:
  explicit Settings(const UserSettings& user) : user_(user) {}

  void add(const std::string& name, const std::string& value, const std::string& reason) {
    if (!user_.variable(name)) settings_.push_back({name, value, reason});
  }
  void add_mca(const std::string& name, const std::string& value, const std::string& reason) {
    if (!user_.mca({name})) settings_.push_back({"OMPI_MCA_" + name, value, reason});
  }
  std::vector<EnvironmentSetting> take() { return std::move(settings_); }

 private:
  const UserSettings& user_;
  std::vector<EnvironmentSetting> settings_;
};

void add_threads(const LaunchPlan& plan, Settings& settings) {
  const int ranks = std::max(1, plan.most_ranks_per_host());
  if (plan.cpus_per_task > 0) {
    settings.add("OMP_NUM_THREADS", std::to_string(plan.cpus_per_task),
                 "the CPUs that Slurm was asked for each task");
    return;
  }
  settings.add("OMP_NUM_THREADS", std::to_string(std::max(1, plan.cores_per_host / ranks)),
               fmt::format("{} cores shared by {} rank{} of a host", plan.cores_per_host, ranks,
                           ranks == 1 ? "" : "s"));
}

void add_network(const LaunchPlan& plan, const UserSettings& user, Settings& settings) {
  // A list of interfaces to use and one of interfaces not to use exclude each other.
  if (!user.mca({"btl_tcp_if_include"})) {
    settings.add_mca("btl_tcp_if_exclude", fmt::format("{},{}", kNoNetworks, kBridges),
                     "bridges of containers have the same address on every host and lead nowhere");
  }
  if (plan.launcher != Launcher::kMpirun) return;
  if (!user.mca({"oob_tcp_if_include", "oob_tcp_include", "oob_tcp_exclude"})) {
    settings.add_mca("oob_tcp_if_exclude", kBridges, "the same for the daemons of mpirun");
  }
  settings.add_mca("oob_tcp_keepalive_time", std::to_string(kIdleSeconds),
                   fmt::format("daemons notice a dead link after {} s, not after 480 s",
                               kIdleSeconds + kProbes * kIntervalSeconds));
  settings.add_mca("oob_tcp_keepalive_intvl", std::to_string(kIntervalSeconds), "the same");
  settings.add_mca("oob_tcp_keepalive_probes", std::to_string(kProbes), "the same");
}

}  // namespace

std::vector<EnvironmentSetting> launch_environment(const LaunchPlan& plan, const Machine& local,
                                                   const UserSettings& user) {
  Settings settings(user);
  if (plan.launcher == Launcher::kMpirun && local.is_root) {
    const char* const reason =
        "mpirun refuses root; the user has chosen to be root, and molora needs no rights of root";
    settings.add("OMPI_ALLOW_RUN_AS_ROOT", "1", reason);
    settings.add("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", "the same, confirmed");
  }
  if (plan.launcher != Launcher::kNone) {
    settings.add_mca("btl_vader_single_copy_mechanism", "none",
                     "containers often forbid the system call that it would use");
  }
  add_threads(plan, settings);
  if (plan.launcher != Launcher::kNone && plan.most_ranks_per_host() >= plan.cores_per_host) {
    settings.add_mca("mpi_yield_when_idle", "1",
                     "ranks that wait must not take the core from ranks that work");
  }
  if (plan.hosts.size() > 1) add_network(plan, user, settings);
  // NCCL finds interfaces, InfiniBand and NVLink by itself; a guess of ours could only be worse.
  if (plan.is_for_gpus && plan.num_ranks() > 1) {
    settings.add("NCCL_DEBUG", "WARN", "NCCL says why it failed, which its error codes do not");
  }
  return settings.take();
}

}  // namespace molora
