#include "comm/mpi_env.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/format.h>
#include <mpi.h>

#include "comm/mpi_communicator.h"

namespace molora {

bool MpiEnvironment::started_by_launcher() {
  // Set by mpirun (Open MPI 4 and 5) and by srun with its pmix plugin. Only the fact is taken from
  // the environment; rank and size come from MPI itself.
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) {
    if (std::getenv(variable) != nullptr) return true;
  }
  return false;
}

int MpiEnvironment::num_threads_wanted() {
  const char* text = std::getenv("OMP_NUM_THREADS");
  return text == nullptr ? 0 : std::max(0, std::atoi(text));
}

std::string MpiEnvironment::nccl_host_id() {
  const char* text = std::getenv("NCCL_HOSTID");
  return text == nullptr ? "" : text;
}

int MpiEnvironment::local_rank() {
  int is_initialized = 0;
  MPI_Initialized(&is_initialized);
  if (is_initialized == 0) return 0;
  MPI_Comm machine = MPI_COMM_NULL;
  const int code =
      MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &machine);
  if (code != MPI_SUCCESS) throw CommError(fmt::format("MPI_Comm_split_type: code {}", code));
  int rank = 0;
  MPI_Comm_rank(machine, &rank);
  MPI_Comm_free(&machine);
  return rank;
}

MpiEnvironment::MpiEnvironment(int* argc, char*** argv) {
  if (!started_by_launcher()) return;
  int provided = 0;
  const int code = MPI_Init_thread(argc, argv, MPI_THREAD_SERIALIZED, &provided);
  if (code != MPI_SUCCESS) {
    throw CommError(
        fmt::format("MPI_Init_thread failed with code {}; check that molora was built "
                    "with the MPI whose launcher starts it",
                    code));
  }
  initialized_ = true;
  if (provided < MPI_THREAD_SERIALIZED) {
    throw CommError(fmt::format(
        "this MPI gives thread level {}, MPI_THREAD_SERIALIZED is needed; rebuild it with threads",
        provided));
  }
}

MpiEnvironment::~MpiEnvironment() {
  if (initialized_) MPI_Finalize();
}

std::unique_ptr<Communicator> MpiEnvironment::make_world() {
  if (!initialized_) return make_single_communicator("world");
  return make_mpi_world();
}

void MpiEnvironment::abort_all(ExitCode code) {
  if (initialized_) MPI_Abort(MPI_COMM_WORLD, static_cast<int>(code));
}

}  // namespace molora
