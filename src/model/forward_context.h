// What one forward pass carries along besides its tokens: mode, randomness, routing, observers.
#pragma once

#include <cstdint>
#include <functional>
#include <utility>

#include <ATen/ATen.h>

#include "model/kv_cache.h"
#include "model/router.h"
#include "model/token_batch.h"
#include "run_config.pb.h"

namespace molora {

enum class ForwardMode {
  kTrain,  // dropout on, gradients recorded
  kEval,   // no dropout; the caller holds an at::NoGradGuard
};

struct ForwardContext {
  const TokenBatch& batch;
  ForwardMode mode = ForwardMode::kEval;
  RoutingContext routing = {};
  // Keys of the dropout masks: the numbers depend on seed, step, linear and token alone.
  uint64_t seed = 0;
  uint64_t step = 0;
  TrainConfig::Recompute recompute = TrainConfig::none;
  // Keys and values of earlier tokens of the same sequences (generation); null: none.
  KvCache* cache = nullptr;
  // Called with k and the input of layer k, and with num_layers and the final normalised state.
  std::function<void(int64_t, const at::Tensor&)> on_hidden = {};
};

// What routing these tokens of the batch needs.
inline RoutingContext routing_of(const ForwardContext& context, TokenIds ids) {
  RoutingContext routing = context.routing;
  routing.ids = std::move(ids);
  routing.draw = {context.mode == ForwardMode::kTrain, context.seed, context.step};
  return routing;
}

}  // namespace molora
