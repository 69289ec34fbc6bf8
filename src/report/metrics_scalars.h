// The numbers of a line of metrics.jsonl as named scalars, for TensorBoard.
#pragma once

#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "report/event_file.h"

namespace molora {

// What a line says, by its type:
//   step     train/loss, learning_rate, grad_norm, tokens, samples, epoch, balance_loss, z_loss,
//            entropy_loss, localized_balance_loss, skipped_steps; speed/seconds, tokens_per_second;
//            communication/<axis>/<collective> in bytes; experts/largest_share and smallest_share
//            (of a router's choices, over all experts)
//   eval     eval/loss; eval/<task>/loss, accuracy, token_accuracy, correct_generated ...
//   ranks    ranks/<rank>/work, waited, peak_memory_gib ...
//   routers  routers/<name>/entropy, top1_share, dead_experts
// Other types, and what is no finite number, give nothing. A tag's parts hold letters, digits and
// "_-."; other characters become '_'.
std::vector<Scalar> metrics_scalars(const nlohmann::json& line);

}  // namespace molora
