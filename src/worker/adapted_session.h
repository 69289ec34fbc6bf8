// A session whose adapter comes from a checkpoint, for the commands that use a result.
#pragma once

#include "comm/communicator.h"
#include "worker/model_session.h"
#include "worker/resolved_config.h"

namespace molora {

// REQUIRES of all three: `model` has an adapter.
//
// Throws: ConfigError when the adapter was trained on another base than the session has.
void check_base(const ResolvedModel& model, const ModelSession& session);
// Reads the adapter of a checkpoint or of a published folder into `adapters`: the session's own, or
// others of the same layout over its base. This rank alone. Throws: as check_base();
// CheckpointError, DataError, IoError.
void load_adapter(const ResolvedModel& model, const ModelSession& session, AdapterSet& adapters);
// Where check_base() had nothing to compare. To be called on one rank.
void warn_of_unknown_base(const ResolvedModel& model, const ModelSession& session);

class AdaptedSession {
 public:
  // Loads the model and, when there is one, its adapter over it. Collective.
  // Throws: ConfigError when the base model is not the one that the adapter was trained on.
  AdaptedSession(const ResolvedModel& model, Communicator& world);

  ModelSession& session() { return session_; }
  const RunConfig& config() const { return config_; }

 private:
  RunConfig config_;
  ModelSession session_;
};

}  // namespace molora
