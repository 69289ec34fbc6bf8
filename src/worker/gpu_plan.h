// Everything that `molora plan --gpus` says: the best layout for so many GPUs, and why.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "config/hardware.h"
#include "plan/layout_search.h"
#include "plan/traffic_plan.h"
#include "worker/commands.h"

namespace molora {

struct GpuPlan {
  SearchRequest request;
  Hardware hardware;
  SearchResult result;
  std::optional<LayoutForecast> written;  // the layout that the configuration spells
  std::vector<std::string> changes;       // that make it fit, when it does not
  std::vector<std::string> remedies;      // when nothing fits
  // The best layout, or the leanest when none fits.
  const LayoutForecast& shown() const {
    return result.fitting.empty() ? *result.leanest : result.fitting.front();
  }
};

// Folders that may hold the files of named machines: configs/hardware here, or beside the program.
std::vector<std::filesystem::path> hardware_folders();

// Throws: ConfigError when the machine is not known, or no layout is possible.
GpuPlan make_gpu_plan(const RunConfig& config, const Architecture& architecture,
                      const PlanArguments& arguments);

// Tables for people, lines of at most 100 characters, and the YAML to paste.
std::string gpu_plan_text(const GpuPlan& plan);

// The same numbers: bytes, floating point operations, seconds, tokens a second.
nlohmann::json gpu_plan_json(const GpuPlan& plan);

// "dp8 x tp1, sequence parallel, 4 rows at a time, recomputation full, experts replicate".
std::string layout_text(const LayoutForecast& layout);

// Bytes that one rank sends in a step.
double sent_by_rank(const LayoutForecast& layout);
// Floating point operations of one rank in a step, recomputation included.
double flops_of_rank(const LayoutForecast& layout);

}  // namespace molora
