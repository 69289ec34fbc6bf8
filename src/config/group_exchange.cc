#include "config/group_exchange.h"

#include "base/check.h"

namespace molora {

namespace {

GroupExchangeConfig::GroupExchange for_every_group(ParallelConfig::Exchange exchange) {
  switch (exchange) {
    case ParallelConfig::auto_:
      return GroupExchangeConfig::auto_;
    case ParallelConfig::tokens:
      return GroupExchangeConfig::tokens;
    case ParallelConfig::rank:
      return GroupExchangeConfig::rank;
    case ParallelConfig::gather:
      return GroupExchangeConfig::gather;
    case ParallelConfig::replicate:
      return GroupExchangeConfig::replicate;
  }
  MOLORA_CHECK(false, "exchange {}", static_cast<int>(exchange));
  return GroupExchangeConfig::auto_;
}

}  // namespace

std::array<AskedExchange, 4> asked_exchanges(const ParallelConfig& parallel,
                                             const TargetsConfig& targets) {
  const auto is_experts = [](auto... kinds) { return ((kinds == TargetsConfig::experts) || ...); };
  const GroupExchangeConfig& own = parallel.exchange_by_group();
  std::array<AskedExchange, 4> asked;
  asked[0] = {.group = "qkv",
              .own = own.qkv(),
              .has_experts = is_experts(targets.q_proj(), targets.k_proj(), targets.v_proj())};
  asked[1] = {.group = "o", .own = own.o(), .has_experts = is_experts(targets.o_proj())};
  asked[2] = {.group = "gate_up",
              .own = own.gate_up(),
              .has_experts = is_experts(targets.gate_proj(), targets.up_proj())};
  asked[3] = {.group = "down", .own = own.down(), .has_experts = is_experts(targets.down_proj())};
  for (AskedExchange& group : asked) {
    group.mode = group.own == GroupExchangeConfig::inherit ? for_every_group(parallel.exchange())
                                                           : group.own;
  }
  return asked;
}

}  // namespace molora
