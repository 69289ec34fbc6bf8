// Whether a model can be laid out on a number of ranks as the configuration asks, known before any
// weight is read.
#pragma once

#include <array>
#include <optional>

#include "comm/mesh.h"
#include "model/architecture.h"
#include "model/exchange_mode.h"
#include "run_config.pb.h"

namespace molora {

// The mesh of `world` ranks. REQUIRES: world >= 1.
// Throws: ConfigError that names everything that is wrong, each with the sizes that would work: for
// tensor_parallel with the number of ranks, the heads, the MLP and the experts of `rank`; for
// expert_parallel with the number of ranks and the experts of `tokens` and `gather`.
MeshShape check_layout(const ParallelConfig& parallel, const AdapterConfig& adapter,
                       const Architecture& architecture, int world);

// The mode that each group of linears is asked for, in the order of kLinearGroups; nothing where it
// is `auto`. Groups without experts (frozen, plain LoRA) are always replicated.
std::array<std::optional<ExchangeMode>, kNumLinearGroups> asked_modes(
    const ParallelConfig& parallel, const AdapterConfig& adapter);

}  // namespace molora
