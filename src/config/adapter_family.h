// Members of the MoLoRA family beyond experts with a router for each linear and plain LoRA: which
// fields of a configuration ask for them, and what the lists by layer come to.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "run_config.pb.h"

namespace molora {

// "adapter.shared_experts", ...: the fields that make an adapter something else than routed experts
// with a softmax gate and plain LoRA. What knows only these asks here and refuses the others.
std::vector<std::string> family_fields(const AdapterConfig& adapter);

// The numbers of experts of a linear that there are among the layers, shared ones included,
// ascending, each once.
std::vector<int64_t> expert_counts(const AdapterConfig& adapter);

// Of the lists by layer: "adapter.num_experts_by_layer: expected 24 numbers, one for each layer of
// the model, got 2", or nothing.
std::string layer_list_fault(const AdapterConfig& adapter, int64_t num_layers);

}  // namespace molora
