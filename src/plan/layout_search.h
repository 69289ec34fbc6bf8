// The fastest layout of a run on so many GPUs, by forecast: what `molora plan --gpus` prints.
//
// Searched are tensor_parallel, expert_parallel, sequence_parallel, the exchange of each group of
// linears, micro_batch_size and activation_checkpointing; what decides the trained numbers
// (global_batch_size, length, adapter) and quantization stay as the configuration has them. A pure
// function.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "plan/machine_model.h"
#include "plan/peak_memory.h"
#include "plan/step_forecast.h"

namespace molora {

struct SearchRequest {
  RunConfig config;
  Architecture architecture;
  int num_gpus = 1;
  bool is_gpu = true;  // false: ranks are processes on CPUs
};

// One layout with what is expected of it.
struct LayoutForecast {
  PlanInput input;
  ExchangeModes modes;
  int64_t micro_batch = 1;  // rows
  RankMemory memory;
  TermSeconds seconds;
  double tokens_per_second = 0;  // over all ranks
  bool fits = false;
};

// The layout that the configuration spells, with its exchange where it is not `auto`. Nothing when
// the model cannot be laid out so (layout.h says why).
std::optional<LayoutForecast> forecast_as_written(const SearchRequest& request,
                                                  const MachineModel& machine);

struct SearchResult {
  std::vector<LayoutForecast> fitting;    // fastest first, at most four, no two of the same layout
  std::optional<LayoutForecast> leanest;  // when nothing fits: what needs least memory
  int64_t num_tried = 0;
};

// Throws: ConfigError when the model cannot be laid out on so many ranks at all.
SearchResult search_layouts(const SearchRequest& request, const MachineModel& machine);

// Why `other` is slower than `best`: the term that it loses most by, with both times.
std::string reason_to_lose(const LayoutForecast& best, const LayoutForecast& other);

// Changes of the configuration, each by itself, with which the layout that it spells fits: the
// smallest of each kind. Empty: none does.
std::vector<std::string> changes_that_fit(const SearchRequest& request,
                                          const MachineModel& machine);

// What the search itself does not change and would make some layout fit: a quantised base, moments
// in the host's memory, more GPUs. Empty: none of them does.
std::vector<std::string> remedies(const SearchRequest& request, const MachineModel& machine);

// The lines to paste: `parallel:` and `train:`.
std::string layout_yaml(const LayoutForecast& layout);

}  // namespace molora
