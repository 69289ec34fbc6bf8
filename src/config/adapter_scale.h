// The factor that the output of every low-rank pair is multiplied by.
#pragma once

#include <cmath>

#include "run_config.pb.h"

namespace molora {

// alpha / r, or alpha / sqrt(r) with rslora.
inline double adapter_scale(const AdapterConfig& config) {
  const auto lora_rank = static_cast<double>(config.lora_rank());
  return config.lora_alpha() / (config.rslora() ? std::sqrt(lora_rank) : lora_rank);
}

}  // namespace molora
