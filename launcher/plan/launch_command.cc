#include "launcher/plan/launch_command.h"

#include <algorithm>
#include <cctype>
#include <set>
#include <string_view>

#include <fmt/format.h>

#include "base/check.h"
#include "launcher/plan/launch_environment.h"
#include "launcher/plan/user_settings.h"

namespace molora {

namespace {

using Launcher = LaunchOptions::Launcher;

class CommandBuilder {
 public:
  CommandBuilder(const LaunchPlan& plan, const Machine& local, const Environment& environment)
      : plan_(plan),
        local_(local),
        environment_(environment),
        user_(environment_, plan.launcher_arguments) {
    command_.environment = launch_environment(plan, local, user_);
  }

  LaunchCommand build(const std::vector<std::string>& program_and_arguments) {
    if (plan_.launcher == Launcher::kMpirun) add_mpirun();
    if (plan_.launcher == Launcher::kSrun) add_srun();
    if (plan_.launcher != Launcher::kNone) add(plan_.launcher_arguments);
    add(program_and_arguments);
    return std::move(command_);
  }

 private:
  void add(const std::vector<std::string>& words) {
    command_.words.insert(command_.words.end(), words.begin(), words.end());
  }
  void note(const std::string& why) { command_.notes.push_back(why); }

  void add_mpirun() {
    add({"mpirun", "--np", std::to_string(plan_.num_ranks())});
    if (plan_.is_local) {
      add({"--oversubscribe"});
    } else {
      add_hosts();
    }
    add_placement();
    if (plan_.is_local) {
      add_local_transports();
    } else {
      add_forwarded_variables();
    }
  }

  void add_hosts() {
    std::string hosts;
    for (const Host& host : plan_.hosts) {
      hosts += fmt::format("{}{}:{}", hosts.empty() ? "" : ",", host.name, host.slots);
    }
    add({"--host", hosts, "--wdir", plan_.working_folder.string()});
  }

  // Where the ranks sit within a host. Memory is allocated on the NUMA node of the core that
  // touches it first, so a rank that wanders reads its copy of the base from the far one.
  void add_placement() {
    if (user_.has_option({"map-by", "rank-by", "bind-to", "cpu-set", "cpu-list", "rankfile", "rf",
                          "npernode", "N", "npersocket", "ppr", "bind-to-core",
                          "bind-to-socket"})) {
      return;
    }
    const int numa = local_.num_numa_nodes;
    const int most = plan_.most_ranks_per_host();
    if (numa < 2 || most > plan_.cores_per_host) {
      if (!plan_.is_local) add({"--map-by", "slot"});
      add({"--bind-to", "none"});
      note(numa < 2 ? "--bind-to none: one NUMA node, whose cores the threads of a rank share out "
                      "better than mpirun"
                    : "--bind-to none: more ranks than cores");
      return;
    }
    const auto is_full = [&](const Host& host) { return host.slots == most; };
    const bool is_even =
        most % numa == 0 && std::all_of(plan_.hosts.begin(), plan_.hosts.end(), is_full);
    add({"--map-by", is_even ? fmt::format("ppr:{}:numa", most / numa) : "slot"});
    add({"--bind-to", "numa:if-supported"});
    note("--bind-to numa: a rank keeps to the NUMA node that its memory is on");
    if (is_even && plan_.is_for_gpus) {
      note("--map-by ppr: ranks in blocks, since GPUs are numbered along the NUMA nodes");
    }
  }

  // Shared memory and TCP only: no probing of fabrics, which is slow and noisy on one machine.
  void add_local_transports() {
    if (!user_.mca({"pml"})) add({"--mca", "pml", "ob1"});
    if (!user_.mca({"btl"})) add({"--mca", "btl", "self,vader,tcp"});
    note("--mca pml and btl: shared memory and TCP, no probing of fabrics on one machine");
  }

  // mpirun hands its own variables (OMPI_...) on to other hosts, and no others.
  void add_forwarded_variables() {
    std::set<std::string> names = {"MOLORA_ATTEMPT", "MOLORA_SUPERVISOR", "MOLORA_TOKEN"};
    for (const auto& [name, value] : environment_) {
      const bool is_ours = name == "MOLORA_FAULT" || name == "CUDA_DEVICE_ORDER";
      const bool is_family = name.rfind("NCCL_", 0) == 0 || name.rfind("OMP_", 0) == 0;
      // UUIDs of GPUs mean nothing on another host.
      const bool is_devices = name == "CUDA_VISIBLE_DEVICES" &&
                              value.find_first_not_of("0123456789,-") == std::string::npos;
      if (is_ours || is_family || is_devices) names.insert(name);
    }
    for (const EnvironmentSetting& setting : command_.environment) {
      if (setting.name.rfind("OMPI_", 0) != 0) names.insert(setting.name);
    }
    for (const std::string& name : names) add({"-x", name});
  }

  void add_srun() {
    const int most = plan_.most_ranks_per_host();
    const bool is_even = std::all_of(plan_.hosts.begin(), plan_.hosts.end(),
                                     [&](const Host& host) { return host.slots == most; });
    // The nodes by name, so that those of the allocation that are left out stay idle. In an uneven
    // job a name stands there once for each of its ranks, in which case the list is the order too.
    std::string nodes;
    for (const Host& host : plan_.hosts) {
      for (int i = 0; i < (is_even ? 1 : host.slots); ++i) {
        nodes += (nodes.empty() ? "" : ",") + host.name;
      }
    }
    add({"srun", "--mpi=pmix", fmt::format("--nodes={}", plan_.hosts.size()),
         fmt::format("--ntasks={}", plan_.num_ranks())});
    if (is_even) add({fmt::format("--ntasks-per-node={}", most)});
    add({"--nodelist=" + nodes, fmt::format("--distribution={}", is_even ? "block" : "arbitrary"),
         "--kill-on-bad-exit=1", "--export=ALL", "--chdir=" + plan_.working_folder.string()});
    note("--mpi=pmix: the one protocol of Slurm that Open MPI of Linux distributions speaks");
    note("--distribution: neighbouring ranks, which talk most, on the same node");
    add_srun_cpus();
  }

  void add_srun_cpus() {
    if (plan_.cpus_per_task == 0) {
      add({"--cpu-bind=none"});
      note(
          "--cpu-bind=none: no --cpus-per-task was asked for, and Slurm would bind each rank to "
          "one core");
      return;
    }
    add({fmt::format("--cpus-per-task={}", plan_.cpus_per_task), "--cpu-bind=cores"});
    note("--cpus-per-task: srun does not take it from the allocation since Slurm 22.05");
  }

  const LaunchPlan& plan_;
  const Machine& local_;
  const Environment& environment_;
  UserSettings user_;
  LaunchCommand command_;
};

// A word as a shell reads it.
std::string quoted(const std::string& word) {
  const auto is_plain = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("-_./,:=@%+").find(c) != std::string_view::npos;
  };
  if (!word.empty() && std::all_of(word.begin(), word.end(), is_plain)) return word;
  std::string result = "'";
  for (const char c : word) {
    if (c == '\'') {
      result += "'\\''";
    } else {
      result += c;
    }
  }
  return result + "'";
}

}  // namespace

LaunchCommand launch_command(const LaunchPlan& plan,
                             const std::vector<std::string>& program_and_arguments,
                             const Machine& local, const Environment& environment) {
  MOLORA_CHECK(!program_and_arguments.empty() && !program_and_arguments[0].empty());
  const bool is_absolute = program_and_arguments[0].front() == '/';
  MOLORA_CHECK(plan.is_local || is_absolute, "{} on other hosts", program_and_arguments[0]);
  return CommandBuilder(plan, local, environment).build(program_and_arguments);
}

std::string command_text(const LaunchCommand& command) {
  std::string text;
  for (const EnvironmentSetting& setting : command.environment) {
    text +=
        fmt::format("# {}\nexport {}={}\n", setting.reason, setting.name, quoted(setting.value));
  }
  for (const std::string& note : command.notes) text += fmt::format("# {}\n", note);
  for (size_t i = 0; i < command.words.size(); ++i) {
    text += (i == 0 ? "" : " ") + quoted(command.words[i]);
  }
  return text + "\n";
}

}  // namespace molora
