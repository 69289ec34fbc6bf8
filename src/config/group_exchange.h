// What the linears that read the same input are asked to do with their experts: `exchange`, where
// `exchange_by_group` does not say otherwise.
#pragma once

#include <array>

#include "run_config.pb.h"

namespace molora {

struct AskedExchange {
  const char* group = "";  // field of exchange_by_group
  GroupExchangeConfig::GroupExchange own = GroupExchangeConfig::inherit;  // as it is written there
  GroupExchangeConfig::GroupExchange mode = GroupExchangeConfig::auto_;   // never inherit
  bool has_experts = false;  // one of its linears is `experts`
};

// In the order qkv, o, gate_up, down.
std::array<AskedExchange, 4> asked_exchanges(const ParallelConfig& parallel,
                                             const TargetsConfig& targets);

}  // namespace molora
