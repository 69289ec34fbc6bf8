#include "worker/adapted_session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "checkpoint/checkpoint_reader.h"
#include "worker/together.h"
#include "worker/training_snapshot.h"

namespace molora {

AdaptedSession::AdaptedSession(const ResolvedModel& model, Communicator& world)
    : config_(model.config), session_(config_, world) {
  if (model.step_folder.empty()) {
    if (world.rank() == 0) spdlog::info("no checkpoint: this is the base model");
    return;
  }
  together(world, [&] {
    const std::string& fingerprint = session_.weights().fingerprint();
    if (model.base_fingerprint != fingerprint) {
      throw ConfigError(fmt::format(
          "{} was trained on a base model with fingerprint {}, {} has {}. Point model.path at the "
          "right one with --set model.path=FOLDER",
          model.step_folder.string(), model.base_fingerprint, config_.model().path(), fingerprint));
    }
    TrainingState state = adapter_state(session_.adapters());
    load_checkpoint(model.step_folder, LoadScope::kAdapter, state);
  });
  if (world.rank() == 0) spdlog::info("adapter of {}", model.step_folder.string());
}

}  // namespace molora
