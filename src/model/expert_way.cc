#include "model/expert_way.h"

#include <fmt/format.h>

namespace molora {

namespace {

// Of "gate_proj grouped".
bool read_way(std::string_view item, ExpertWays& ways) {
  for (const LinearKind kind : kLinearKinds) {
    for (const ExpertWay way : {ExpertWay::kDense, ExpertWay::kGrouped}) {
      if (item != fmt::format("{} {}", linear_name(kind), expert_way_name(way))) continue;
      ways.of(kind) = way;
      return true;
    }
  }
  return false;
}

}  // namespace

const char* expert_way_name(ExpertWay way) {
  return way == ExpertWay::kGrouped ? "grouped" : "dense";
}

ExpertWays all_linears(ExpertWay way) {
  ExpertWays ways;
  ways.by_kind.fill(way);
  return ways;
}

std::string expert_ways_text(const ExpertWays& ways, const std::vector<LinearKind>& kinds) {
  std::string text;
  for (const LinearKind kind : kinds) {
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", linear_name(kind),
                        expert_way_name(ways.of(kind)));
  }
  return text;
}

std::optional<ExpertWays> parse_expert_ways(std::string_view text) {
  ExpertWays ways;
  while (!text.empty()) {
    const size_t end = text.find(", ");
    if (!read_way(text.substr(0, end), ways)) return std::nullopt;
    text = end == std::string_view::npos ? std::string_view() : text.substr(end + 2);
  }
  return ways;
}

}  // namespace molora
