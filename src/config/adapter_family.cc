#include "config/adapter_family.h"

#include <algorithm>
#include <array>
#include <utility>

#include <fmt/format.h>

namespace molora {

std::vector<std::string> family_fields(const AdapterConfig& adapter) {
  const RouterConfig& router = adapter.router();
  const std::pair<const char*, bool> asked[] = {
      {"adapter.shared_experts", adapter.shared_experts() != 0},
      {"adapter.shared_A", adapter.shared_a()},
      {"adapter.num_experts_by_layer", adapter.num_experts_by_layer_size() != 0},
      {"adapter.experts_per_token_by_layer", adapter.experts_per_token_by_layer_size() != 0},
      {"adapter.lora_rank_by_layer", adapter.lora_rank_by_layer_size() != 0},
      {"adapter.dora", adapter.dora()},
      {"adapter.router.gate",
       router.gate() == RouterConfig::threshold || router.gate() == RouterConfig::top_p},
      {"adapter.router.selection", router.selection() != RouterConfig::highest},
      {"adapter.router.bias_update_rate", router.bias_update_rate() != 0.0},
      {"adapter.router.health.action", router.health().action() == RouterHealthConfig::bias},
      {"adapter.router.scope", router.scope() != RouterConfig::linear},
      {"adapter.router.input", router.input() != RouterConfig::token},
      {"adapter.router.heads", router.heads() != 1}};
  std::vector<std::string> fields;
  for (const auto& [name, is_asked] : asked) {
    if (is_asked) fields.emplace_back(name);
  }
  return fields;
}

std::vector<int64_t> expert_counts(const AdapterConfig& adapter) {
  std::vector<int64_t> counts(adapter.num_experts_by_layer().begin(),
                              adapter.num_experts_by_layer().end());
  if (counts.empty()) counts.push_back(adapter.num_experts());
  for (int64_t& count : counts) count += adapter.shared_experts();
  std::sort(counts.begin(), counts.end());
  counts.erase(std::unique(counts.begin(), counts.end()), counts.end());
  return counts;
}

std::string layer_list_fault(const AdapterConfig& adapter, int64_t num_layers) {
  const std::pair<const char*, int> lists[] = {
      {"num_experts_by_layer", adapter.num_experts_by_layer_size()},
      {"experts_per_token_by_layer", adapter.experts_per_token_by_layer_size()},
      {"lora_rank_by_layer", adapter.lora_rank_by_layer_size()}};
  for (const auto& [name, size] : lists) {
    if (size == 0 || size == num_layers) continue;
    return fmt::format("adapter.{}: expected {} numbers, one for each layer of the model, got {}",
                       name, num_layers, size);
  }
  return {};
}

}  // namespace molora
