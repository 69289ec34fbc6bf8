// Which way a rank computes the experts of each linear: dense (model/bottleneck.h) or grouped
// (model/grouped_experts.h). The numbers are the same to rounding.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/linear_kind.h"

namespace molora {

enum class ExpertWay { kDense, kGrouped };
// "dense", "grouped".
const char* expert_way_name(ExpertWay way);

// Of the experts of each linear; a linear without them is dense.
struct ExpertWays {
  std::array<ExpertWay, kLinearKinds.size()> by_kind = {};

  ExpertWay of(LinearKind kind) const { return by_kind.at(static_cast<size_t>(kind)); }
  ExpertWay& of(LinearKind kind) { return by_kind.at(static_cast<size_t>(kind)); }
  bool operator==(const ExpertWays&) const = default;
};
// The same way for every linear.
ExpertWays all_linears(ExpertWay way);

// "gate_proj grouped, down_proj dense", as a checkpoint keeps it: of these linears.
std::string expert_ways_text(const ExpertWays& ways, const std::vector<LinearKind>& kinds);
// The linears that are not named are dense. Nothing when it is no such text.
std::optional<ExpertWays> parse_expert_ways(std::string_view text);

}  // namespace molora
