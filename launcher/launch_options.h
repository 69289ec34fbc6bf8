// What the command line says about where a job runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace molora {

struct LaunchOptions {
  // kNone: this process is the only rank, unsupervised (debuggers).
  enum class Launcher { kAuto, kMpirun, kSrun, kNone };

  int num_ranks = 0;               // 0: work out
  std::string hosts;               // "a:4,b:4" or ""
  std::filesystem::path hostfile;  // "" or a file in Open MPI's form (name slots=N)
  Launcher launcher = Launcher::kAuto;
  bool may_use_gpus = true;                     // whether ranks compute on GPUs where there are any
  std::vector<std::string> launcher_arguments;  // passed on to mpirun or srun as they are
};

}  // namespace molora
