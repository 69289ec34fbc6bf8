#include "worker/saved_layout.h"

#include <string>

#include <fmt/format.h>

#include "checkpoint/surgery_plan.h"
#include "config/group_exchange.h"
#include "tensor/tensor_bytes.h"

namespace molora {

LayoutRecord saved_layout(const RunConfig& config, const ModelSession& session) {
  const MeshShape& shape = session.mesh().shape();
  LayoutRecord layout;
  layout.set_ranks(shape.world());
  layout.set_data_parallel(shape.dp);
  layout.set_tensor_parallel(shape.tp);
  layout.set_expert_parallel(shape.ep);
  const auto groups = asked_exchanges(config.parallel(), config.adapter().targets());
  std::string exchange;
  for (size_t i = 0; i < groups.size(); ++i) {
    if (!groups[i].has_experts) continue;
    exchange += fmt::format("{}{} {}", exchange.empty() ? "" : ", ", groups[i].group,
                            exchange_mode_name(session.modes().by_group.at(i)));
  }
  layout.set_exchange(exchange);
  layout.set_expert_compute(session.expert_compute());
  return layout;
}

std::optional<ExpertWays> saved_expert_ways(const CheckpointManifest& manifest,
                                            const RunConfig& config) {
  const LayoutRecord& layout = manifest.layout();
  if (layout.expert_compute().empty() || needs_surgery(manifest.config(), config)) return {};
  return parse_expert_ways(layout.expert_compute());
}

std::vector<RouterLoad> router_loads(const AdapterSet& adapters, const Tensor& counts_RE) {
  std::vector<RouterLoad> loads;
  if (!counts_RE.defined()) return loads;
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.router_index < 0) continue;
    RouterLoad& load = loads.emplace_back();
    load.set_linear(linear.router_path());
    const Tensor counts_E =
        counts_RE[linear.router_index].slice(0, 0, linear.spec.num_routed()).contiguous();
    for (const int64_t tokens : elements<int64_t>(counts_E)) load.add_tokens(tokens);
  }
  return loads;
}

}  // namespace molora
