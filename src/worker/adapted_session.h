// A session whose adapter comes from a checkpoint, for the commands that use a result.
#pragma once

#include <filesystem>

#include "comm/communicator.h"
#include "worker/model_session.h"
#include "worker/resolved_config.h"

namespace molora {

class AdaptedSession {
 public:
  // Loads the model and, when there is one, its adapter over it. Collective.
  // Throws: ConfigError when the base model is not the one that the adapter was trained on.
  AdaptedSession(const ResolvedModel& model, Communicator& world);

  ModelSession& session() { return session_; }
  const RunConfig& config() const { return config_; }

 private:
  void check_base(const ResolvedModel& model, const std::filesystem::path& origin);

  RunConfig config_;
  ModelSession session_;
};

}  // namespace molora
