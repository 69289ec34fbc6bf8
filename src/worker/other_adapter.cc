#include "worker/other_adapter.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "plan/layout.h"
#include "worker/adapted_session.h"
#include "worker/together.h"

namespace molora {

namespace {

// One base in memory serves all: what decides how it is held has to be the same.
void check_same_storage(const ResolvedModel& model, const RunConfig& session_config) {
  const ModelConfig& here = session_config.model();
  const ModelConfig& there = model.config.model();
  const auto check = [&](const char* field, const std::string& held, const std::string& wanted) {
    if (held == wanted) return;
    throw ConfigError(fmt::format(
        "{} has model.{} {}, the first of the adapters has {}; one base is held for all of them. "
        "Decide for one with --set model.{}=..",
        model.adapter_path().string(), field, wanted, held, field));
  };
  check("precision", ModelConfig::Precision_Name(here.precision()),
        ModelConfig::Precision_Name(there.precision()));
  check("quantization", ModelConfig::Quantization_Name(here.quantization()),
        ModelConfig::Quantization_Name(there.quantization()));
}

}  // namespace

OtherAdapter::OtherAdapter(const ResolvedModel& model, const ModelSession& session,
                           const RunConfig& session_config, Communicator& world) {
  RunConfig config = model.config;
  *config.mutable_parallel() = session_config.parallel();
  config.mutable_model()->set_path(session.base_path());
  together(world, [&] {
    if (!model.adapter_path().empty()) check_base(model, session);
    check_same_storage(model, session_config);
    parts_.emplace(read_session_parts(config));
    const MeshShape shape =
        check_layout(config.parallel(), config.adapter(), session.architecture(), world.size());
    layout_.emplace(session.model().layout());
    adapters_.emplace(session.architecture(), config.adapter(), config.seed(),
                      session.model().compute_type() == at::kDouble ? at::kDouble : at::kFloat,
                      AdapterPlacement{shape, session.mesh().world_rank(),
                                       choose_modes(config, session.architecture(), shape).modes},
                      session.device());
    model_.emplace(session.architecture(), session.weights(), *adapters_, *layout_);
    if (!model.adapter_path().empty()) load_adapter(model, session, *adapters_);
  });
  layout_->expert_ways =
      agree_on_expert_ways(config, model.expert_ways, *adapters_, session.device(), world);
  if (world.rank() == 0 && !model.adapter_path().empty()) {
    spdlog::info("adapter of {}", model.adapter_path().string());
  }
}

ResolvedModel without_adapter(const ResolvedModel& model) {
  ResolvedModel base;
  base.config = model.config;
  TargetsConfig& targets = *base.config.mutable_adapter()->mutable_targets();
  targets.set_q_proj(TargetsConfig::frozen);
  targets.set_k_proj(TargetsConfig::frozen);
  targets.set_v_proj(TargetsConfig::frozen);
  targets.set_o_proj(TargetsConfig::frozen);
  targets.set_gate_proj(TargetsConfig::frozen);
  targets.set_up_proj(TargetsConfig::frozen);
  targets.set_down_proj(TargetsConfig::frozen);
  return base;
}

}  // namespace molora
