// The slices of all ranks put together again.
#pragma once

#include "checkpoint/training_state.h"
#include "comm/communicator.h"

namespace molora {

// On rank 0 the state with every tensor whole, whatever the layout; elsewhere without tensors. Of
// several ranks that hold the same slice the lowest one's is taken. Collective.
// Throws on every rank: InternalError when slices do not cover a tensor exactly once.
TrainingState gather_on_rank_zero(Communicator& world, const TrainingState& state);

}  // namespace molora
