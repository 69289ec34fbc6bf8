#include "model/exchange_mode.h"

namespace molora {

const char* exchange_mode_name(ExchangeMode mode) {
  switch (mode) {
    case ExchangeMode::kTokens:
      return "tokens";
    case ExchangeMode::kRank:
      return "rank";
    case ExchangeMode::kGather:
      return "gather";
    case ExchangeMode::kReplicate:
      return "replicate";
  }
  return "?";
}

const char* linear_group_name(LinearGroup group) {
  switch (group) {
    case LinearGroup::kQkv:
      return "qkv";
    case LinearGroup::kO:
      return "o";
    case LinearGroup::kGateUp:
      return "gate_up";
    case LinearGroup::kDown:
      return "down";
  }
  return "?";
}

ExchangeModes all_groups(ExchangeMode mode) {
  ExchangeModes modes;
  modes.by_group.fill(mode);
  return modes;
}

}  // namespace molora
