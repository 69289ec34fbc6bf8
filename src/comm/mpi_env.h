// MPI for the life of the process: started once, in main(), before any other thread.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "comm/communicator.h"

namespace molora {

// Initialises MPI when the process was started by an MPI launcher (mpirun, srun), and nothing
// otherwise: a plainly started process is a world of one that needs no MPI and starts faster.
class MpiEnvironment {
 public:
  // Throws: CommError when MPI cannot be initialised.
  MpiEnvironment(int* argc, char*** argv);
  // Finalises; waits for the other ranks. Never throws.
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;
  MpiEnvironment(MpiEnvironment&&) = delete;
  MpiEnvironment& operator=(MpiEnvironment&&) = delete;

  // Whether the environment of this process says that an MPI launcher started it.
  static bool started_by_launcher();

  // OMP_NUM_THREADS, or 0 where it is not set to a number.
  static int num_threads_wanted();

  // NCCL_HOSTID, "" where it is not set: what NCCL takes for this process's machine.
  static std::string nccl_host_id();

  // This rank's number among those of its machine, by shared memory, not by names; 0 without MPI.
  // Collective over all ranks.
  static int local_rank();

  // A communicator over all ranks, with an MPI context of its own. Collective.
  std::unique_ptr<Communicator> make_world();

  // Ends all ranks with this code; returns only in a world of one. For the one place where an
  // exception on one rank must not leave the others waiting.
  void abort_all(ExitCode code);

 private:
  bool initialized_ = false;
};

}  // namespace molora
