// `molora plan --gpus N --json`: the numbers of the tables, for machines.
#include "worker/gpu_plan.h"

namespace molora {

namespace {

using nlohmann::json;

json memory_json(const LayoutForecast& layout) {
  const RankMemory& memory = layout.memory;
  json kept = json::array();
  for (const KeptTensor& item : kept_activations(layout.input, layout.modes)) {
    kept.push_back({{"part", item.part}, {"what", item.what}, {"bytes", item.bytes}});
  }
  return {{"base", memory.base},
          {"adapter", memory.adapter},
          {"gradients", memory.gradients},
          {"moments", memory.moments},
          {"activations", memory.activations},
          {"working_set", memory.working_set},
          {"exchange", memory.exchange},
          {"checkpoint_copy", memory.checkpoint_copy},
          {"program", memory.program},
          {"reserve", memory.reserve},
          {"total", memory.total()},
          {"kept", kept}};
}

json layout_json(const LayoutForecast& layout) {
  const PlanInput& input = layout.input;
  json seconds;
  for (size_t i = 0; i < kNumTimeTerms; ++i) {
    const auto term = static_cast<TimeTerm>(i);
    seconds[time_term_name(term)] = layout.seconds[term];
  }
  json exchange;
  for (const LinearGroup group : kLinearGroups) {
    exchange[linear_group_name(group)] = exchange_mode_name(layout.modes.of(group));
  }
  return {{"dp", input.mesh.dp},
          {"tp", input.mesh.tp},
          {"ep", input.mesh.ep},
          {"sequence_parallel", input.is_sequence_parallel},
          {"micro_batch_size", layout.micro_batch},
          {"micro_steps", input.micro_steps},
          {"activation_checkpointing", TrainConfig::Recompute_Name(input.recompute)},
          {"exchange", exchange},
          {"fits", layout.fits},
          {"tokens_per_second", layout.tokens_per_second},
          {"seconds_step", layout.seconds.total()},
          {"seconds", seconds},
          {"memory", memory_json(layout)},
          {"rank_bytes_sent_step", sent_by_rank(layout)},
          {"rank_flops_step", flops_of_rank(layout)},
          {"text", layout_text(layout)},
          {"yaml", layout_yaml(layout)}};
}

}  // namespace

json gpu_plan_json(const GpuPlan& plan) {
  json others = json::array();
  for (size_t i = 1; i < plan.result.fitting.size(); ++i) {
    json other = layout_json(plan.result.fitting[i]);
    other["loses_by"] = reason_to_lose(plan.shown(), plan.result.fitting[i]);
    others.push_back(other);
  }
  json result = {{"model", plan.request.config.model().path()},
                 {"parameters", count_base_parameters(plan.request.architecture)},
                 {"gpus", plan.request.num_gpus},
                 {"hardware", plan.hardware.name()},
                 {"memory_bytes", plan.hardware.memory_bytes()},
                 {"layouts_compared", plan.result.num_tried},
                 {"fits", !plan.result.fitting.empty()},
                 {plan.result.fitting.empty() ? "leanest" : "best", layout_json(plan.shown())},
                 {"next_best", others},
                 {"remedies", plan.remedies}};
  if (plan.written) {
    result["as_written"] = layout_json(*plan.written);
    result["as_written"]["changes_that_fit"] = plan.changes;
  }
  return result;
}

}  // namespace molora
