#include "worker/adapted_session.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "checkpoint/load_checkpoint.h"
#include "export/adapter_folder.h"
#include "export/published_names.h"
#include "model/architecture_text.h"
#include "worker/together.h"
#include "worker/training_snapshot.h"

namespace molora {

namespace {

// A run may be used on other ranks than it was trained on: where its layout does not fit their
// number, each rank takes a whole copy.
RunConfig fit_layout(RunConfig config, Communicator& world) {
  const ParallelConfig& parallel = config.parallel();
  const auto ranks = static_cast<uint32_t>(world.size());
  if (ranks % parallel.tensor_parallel() == 0 && ranks % parallel.expert_parallel() == 0) {
    return config;
  }
  if (world.rank() == 0) {
    spdlog::info(
        "the run's layout (tensor_parallel {}, expert_parallel {}) does not fit {} rank{}: each "
        "holds the whole model",
        parallel.tensor_parallel(), parallel.expert_parallel(), ranks, ranks == 1 ? "" : "s");
  }
  config.mutable_parallel()->set_tensor_parallel(1);
  config.mutable_parallel()->set_expert_parallel(1);
  return config;
}

}  // namespace

void check_base(const ResolvedModel& model, const ModelSession& session) {
  const std::string& fingerprint = session.weights().fingerprint();
  if (model.base_fingerprint.empty()) return;  // a folder that does not say it
  if (model.base_fingerprint != fingerprint) {
    throw ConfigError(fmt::format(
        "{} was trained on a base model with fingerprint {}, {} has {}. Point model.path at the "
        "right one with --set model.path=FOLDER",
        model.adapter_path().string(), model.base_fingerprint, session.base_path(), fingerprint));
  }
  const std::string difference =
      architecture_difference(model.architecture, architecture_text(session.architecture()));
  if (!difference.empty()) {
    throw ConfigError(fmt::format(
        "{} was trained on the same weights in another model: config.json of {} says {} now",
        model.adapter_path().string(), session.base_path(), difference));
  }
}

void load_adapter(const ResolvedModel& model, const ModelSession& session, AdapterSet& adapters) {
  check_base(model, session);
  if (!model.adapter_folder.empty()) {
    load_published(read_adapter_folder_tensors(model.adapter_folder), model.adapter_folder.string(),
                   adapters);
    return;
  }
  TrainingState state = adapter_state(adapters);
  load_checkpoint(local_files(), model.step_folder, LoadScope::kAdapter, state);
}

void warn_of_unknown_base(const ResolvedModel& model, const ModelSession& session) {
  if (!model.base_fingerprint.empty()) return;
  spdlog::warn("{} does not say which base model it was trained on; taken for that: {}",
               model.adapter_path().string(), session.base_path());
}

AdaptedSession::AdaptedSession(const ResolvedModel& model, Communicator& world)
    : config_(fit_layout(model.config, world)), session_(config_, model.expert_ways, world) {
  if (model.adapter_path().empty()) {
    if (world.rank() == 0) spdlog::info("no checkpoint: this is the base model");
    return;
  }
  together(world, [&] { load_adapter(model, session_, session_.adapters()); });
  if (world.rank() != 0) return;
  warn_of_unknown_base(model, session_);
  spdlog::info("adapter of {}", model.adapter_path().string());
}

}  // namespace molora
