// The factor that the output of every low-rank pair is multiplied by.
#pragma once

#include <cmath>
#include <cstdint>

#include "run_config.pb.h"

namespace molora {

// alpha / r, or alpha / sqrt(r) with rslora.
inline double adapter_scale(const AdapterConfig& config, int64_t lora_rank) {
  const auto r = static_cast<double>(lora_rank);
  return config.lora_alpha() / (config.rslora() ? std::sqrt(r) : r);
}

}  // namespace molora
