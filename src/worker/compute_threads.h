// How many threads a rank computes with, and on which cores of its machine.
#pragma once

#include "comm/communicator.h"

namespace molora {

// LibTorch's arithmetic uses OMP_NUM_THREADS threads where that is set (the supervisor sets it),
// else one for each CPU that is this rank's.
//
// The ranks of a machine share out its cores (launcher/plan/core_share.h), whatever has started
// them, and this thread and those that it starts from here on keep to the rank's own: threads that
// wander compute on the core of another rank, or far from their memory. The user's word goes first:
// nothing is bound where OMP_PROC_BIND, OMP_PLACES or GOMP_CPU_AFFINITY is set (OMP_PROC_BIND=false
// for two jobs on one machine), where OMP_NUM_THREADS asks for more threads than there are cores
// for, or where each rank has been given CPUs of its own. Rank 0 logs what was bound. Where there
// are as many threads as CPUs of the rank's own, each thread but this one keeps to one of them.
//
// REQUIRES: nothing has been computed yet. Collective.
void set_compute_threads(Communicator& world);

}  // namespace molora
