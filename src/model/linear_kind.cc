#include "model/linear_kind.h"

#include <cstring>

namespace molora {

LinearGroup linear_group(LinearKind kind) {
  switch (kind) {
    case LinearKind::kQ:
    case LinearKind::kK:
    case LinearKind::kV:
      return LinearGroup::kQkv;
    case LinearKind::kO:
      return LinearGroup::kO;
    case LinearKind::kGate:
    case LinearKind::kUp:
      return LinearGroup::kGateUp;
    case LinearKind::kDown:
      return LinearGroup::kDown;
  }
  return LinearGroup::kQkv;
}

bool is_column_parallel(LinearKind kind) {
  return kind != LinearKind::kO && kind != LinearKind::kDown;
}

Slice split_slice(const Architecture& a, LinearKind kind, int64_t tp, int64_t tp_rank) {
  const auto heads = [&](const Slice& slice) {
    return Slice{slice.begin * a.head_dim, slice.length * a.head_dim};
  };
  switch (kind) {
    case LinearKind::kQ:
    case LinearKind::kO:
      return heads(even_slice(a.num_heads, tp, tp_rank));
    case LinearKind::kK:
    case LinearKind::kV:
      return heads(kv_head_slice(a.num_kv_heads, tp, tp_rank));
    case LinearKind::kGate:
    case LinearKind::kUp:
    case LinearKind::kDown:
      return even_slice(a.intermediate_size, tp, tp_rank);
  }
  return {};
}

const char* linear_path(LinearKind kind) {
  switch (kind) {
    case LinearKind::kQ:
      return "self_attn.q_proj";
    case LinearKind::kK:
      return "self_attn.k_proj";
    case LinearKind::kV:
      return "self_attn.v_proj";
    case LinearKind::kO:
      return "self_attn.o_proj";
    case LinearKind::kGate:
      return "mlp.gate_proj";
    case LinearKind::kUp:
      return "mlp.up_proj";
    case LinearKind::kDown:
      return "mlp.down_proj";
  }
  return "?";
}

const char* linear_name(LinearKind kind) { return std::strchr(linear_path(kind), '.') + 1; }

LinearSize linear_size(const Architecture& a, LinearKind kind) {
  switch (kind) {
    case LinearKind::kQ:
      return {a.hidden_size, a.q_size()};
    case LinearKind::kK:
    case LinearKind::kV:
      return {a.hidden_size, a.kv_size()};
    case LinearKind::kO:
      return {a.q_size(), a.hidden_size};
    case LinearKind::kGate:
    case LinearKind::kUp:
      return {a.hidden_size, a.intermediate_size};
    case LinearKind::kDown:
      return {a.intermediate_size, a.hidden_size};
  }
  return {};
}

}  // namespace molora
