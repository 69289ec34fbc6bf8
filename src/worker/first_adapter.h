// What a fresh run's adapter begins with, where the configuration names it (adapter.init_from).
#pragma once

#include "comm/communicator.h"
#include "worker/model_session.h"

namespace molora {

// Reads the trained tensors of the run, checkpoint or adapter folder at adapter.init_from into the
// session's adapter; nothing else of it. Nothing is done where none is named. Collective.
// Throws: ConfigError when it is another kind of adapter than the configuration asks for, or of
// another base; CheckpointError, DataError, IoError.
void begin_with_named_adapter(const RunConfig& config, ModelSession& session, Communicator& world);

}  // namespace molora
