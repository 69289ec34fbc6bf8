// Everything that `molora plan` says: what a layout would send, hold and compute.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "plan/choose_exchange.h"
#include "run_config.pb.h"
#include "worker/commands.h"

namespace molora {

struct PlannedMode {
  ExchangeMode mode = ExchangeMode::kReplicate;
  std::string obstacle;  // why it is not considered; then the cost is left out
  bool is_chosen = false;
  GroupCost cost;
  double share = 0;  // of the whole step, if this mode were chosen
};

struct PlannedGroup {
  LinearGroup group = LinearGroup::kQkv;
  bool has_experts = false;
  std::vector<PlannedMode> modes;  // replicate alone without experts
  std::string reason;
  double break_even_tokens = 0;  // 0: there is none
};

struct PlanReport {
  std::string model;
  PlanInput input;
  std::string speeds_name;
  double memory_limit = 0;  // 0: none
  std::vector<PlannedGroup> groups;
  std::vector<TrafficItem> traffic;  // of one step
  MemoryPlan memory;
  double base_flops = 0;     // of one rank, one step
  double adapter_flops = 0;  // the same
  StepTime base;
  StepTime adapters;
};

// Throws: ConfigError when the model cannot be laid out so.
PlanReport make_plan_report(const RunConfig& config, const Architecture& architecture,
                            const PlanArguments& arguments);

// Tables for people, lines of at most 100 characters.
std::string plan_text(const PlanReport& report);

// The same numbers: bytes, floating point operations, seconds.
nlohmann::json plan_json(const PlanReport& report);

}  // namespace molora
