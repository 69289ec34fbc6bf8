// The linears of a decoder layer: names, sizes, and how tensor parallelism splits them.
#pragma once

#include <array>
#include <cstdint>

#include "model/architecture.h"
#include "model/exchange_mode.h"
#include "parallel/shard.h"

namespace molora {

// The linears of a decoder layer, in the order of the forward pass.
enum class LinearKind { kQ, kK, kV, kO, kGate, kUp, kDown };
constexpr std::array<LinearKind, 7> kLinearKinds = {
    LinearKind::kQ,    LinearKind::kK,  LinearKind::kV,   LinearKind::kO,
    LinearKind::kGate, LinearKind::kUp, LinearKind::kDown};

LinearGroup linear_group(LinearKind kind);
// Whether the linear's outputs (q, k, v, gate, up), not its inputs (o, down), are split over tp.
bool is_column_parallel(LinearKind kind);

// "self_attn.q_proj", ..., "mlp.down_proj": as in the published files.
const char* linear_path(LinearKind kind);
// "q_proj", ..., "down_proj".
const char* linear_name(LinearKind kind);

struct LinearSize {
  int64_t in = 0;
  int64_t out = 0;
};
LinearSize linear_size(const Architecture& architecture, LinearKind kind);

// The part of the split dimension of a linear that a tp rank holds: outputs of a column-parallel
// one (whole heads; q, k, v), inputs of a row-parallel one.
Slice split_slice(const Architecture& architecture, LinearKind kind, int64_t tp, int64_t tp_rank);

}  // namespace molora
