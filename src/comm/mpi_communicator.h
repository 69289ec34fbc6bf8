// The MPI back end: bytes between processes, in host memory.
#pragma once

#include <memory>

#include "comm/communicator.h"

namespace molora {

// All ranks of MPI_COMM_WORLD, over a duplicate of it. Collective. REQUIRES: MPI is initialised,
// and is finalised only after the communicator is gone. Throws: CommError.
std::unique_ptr<Communicator> make_mpi_world();

}  // namespace molora
