// How routed tokens and their experts meet: four placements of the experts with the same
// mathematics.
//
//   replicate  every data-parallel rank holds all experts, split over tp as the base is
//   rank       experts live on their tp rank; only bottleneck values (lora_rank wide) move
//   tokens     experts live whole on their ep rank; token rows travel there and back
//   gather     experts live on their ep rank and are gathered for use, their gradients sent back
#pragma once

#include <array>
#include <cstddef>

namespace molora {

enum class ExchangeMode { kTokens, kRank, kGather, kReplicate };
constexpr std::array<ExchangeMode, 4> kExchangeModes = {
    ExchangeMode::kTokens, ExchangeMode::kRank, ExchangeMode::kGather, ExchangeMode::kReplicate};
// "tokens", "rank", "gather", "replicate".
const char* exchange_mode_name(ExchangeMode mode);

// Linears that read the same input: they share what is done with it.
enum class LinearGroup { kQkv, kO, kGateUp, kDown };
constexpr size_t kNumLinearGroups = 4;
constexpr std::array<LinearGroup, kNumLinearGroups> kLinearGroups = {
    LinearGroup::kQkv, LinearGroup::kO, LinearGroup::kGateUp, LinearGroup::kDown};
// "qkv", "o", "gate_up", "down".
const char* linear_group_name(LinearGroup group);

// The mode of each group's experts. Plain LoRA is always replicated.
struct ExchangeModes {
  std::array<ExchangeMode, kNumLinearGroups> by_group = {
      ExchangeMode::kReplicate, ExchangeMode::kReplicate, ExchangeMode::kReplicate,
      ExchangeMode::kReplicate};
  ExchangeMode of(LinearGroup group) const { return by_group.at(static_cast<size_t>(group)); }
};
// The same mode for every group.
ExchangeModes all_groups(ExchangeMode mode);

}  // namespace molora
