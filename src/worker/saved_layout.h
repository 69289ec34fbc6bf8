// What a checkpoint says of the run's shape: how the ranks shared the model, and what routers did.
#pragma once

#include <optional>
#include <vector>

#include "checkpoint.pb.h"
#include "worker/model_session.h"

namespace molora {

LayoutRecord saved_layout(const RunConfig& config, const ModelSession& session);

// Which way the experts of a run are to be computed by what its checkpoint says; nothing when that
// says nothing, or is of other experts than the run has.
std::optional<ExpertWays> saved_expert_ways(const CheckpointManifest& manifest,
                                            const RunConfig& config);

// counts_RE: [routers, experts] int64; undefined before the first step, which gives none.
std::vector<RouterLoad> router_loads(const AdapterSet& adapters, const Tensor& counts_RE);

}  // namespace molora
