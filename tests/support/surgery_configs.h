// What a run asks of surgery, on top of any configuration.
#pragma once

#include <cstdint>
#include <vector>

#include "run_config.pb.h"

namespace molora::testing {

inline RunConfig dropping(RunConfig config, const std::vector<uint32_t>& experts) {
  auto& list = *config.mutable_checkpoint()->mutable_surgery()->mutable_drop_experts();
  list.Assign(experts.begin(), experts.end());
  return config;
}

inline RunConfig allowing(RunConfig config) {
  config.mutable_checkpoint()->mutable_surgery()->set_may_change_forward(true);
  return config;
}

}  // namespace molora::testing
