#include "worker/first_adapter.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "config/config_difference.h"
#include "worker/adapted_session.h"
#include "worker/resolved_config.h"
#include "worker/together.h"

namespace molora {

namespace {

// What decides the function that the tensors make, and nothing of how they are trained.
RunConfig form_of(const RunConfig& config) {
  RunConfig form;
  AdapterConfig& adapter = *form.mutable_adapter();
  adapter = config.adapter();
  adapter.clear_lora_dropout();
  adapter.clear_expert_dropout();
  adapter.clear_expert_compute();
  adapter.clear_frozen_experts();
  adapter.clear_init_from();
  RouterConfig& router = *adapter.mutable_router();
  router.clear_balance_loss_coef();
  router.clear_z_loss_coef();
  router.clear_entropy_loss_coef();
  router.clear_loss_across_routers();
  router.clear_init_std();
  router.clear_bias_update_rate();
  router.clear_localized_balance();
  router.clear_health();
  if (router.gate() == RouterConfig::softmax_topk_renorm) {
    router.set_gate(RouterConfig::topk_softmax);  // the same numbers
  }
  return form;
}

void check_form(const RunConfig& config, const ResolvedModel& model) {
  const std::vector<std::string> differences =
      config_difference(form_of(config), form_of(model.config));
  if (differences.empty()) return;
  throw ConfigError(fmt::format(
      "adapter.init_from: {} holds another adapter than the configuration asks for (asked for -> "
      "found): {}; set these fields as it has them, or leave init_from out",
      model.adapter_path().string(), fmt::join(differences, ", ")));
}

}  // namespace

void begin_with_named_adapter(const RunConfig& config, ModelSession& session, Communicator& world) {
  const std::string& path = config.adapter().init_from();
  if (path.empty()) return;
  // The base is the run's own, wherever the other's was.
  const ResolvedModel model =
      resolve_model({.paths = {path}, .overrides = {"model.path=" + session.base_path()}}, world);
  together(world, [&] {
    if (model.adapter_path().empty()) {
      throw ConfigError(fmt::format("adapter.init_from: {} has no adapter", path));
    }
    check_form(config, model);
    load_adapter(model, session, session.adapters());
  });
  if (world.rank() != 0) return;
  warn_of_unknown_base(model, session);
  spdlog::info("the adapter begins as that of {}", model.adapter_path().string());
}

}  // namespace molora
