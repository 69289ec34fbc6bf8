#include "serve/step_plan.h"

#include <nlohmann/json.hpp>

namespace molora {

namespace {

using nlohmann::json;

json json_of(const NewSequence& sequence) {
  const GenerationOptions& options = sequence.options;
  return {{"key", sequence.key},
          {"prompt", sequence.prompt},
          {"temperature", options.sampling.temperature},
          {"top_k", options.sampling.top_k},
          {"top_p", options.sampling.top_p},
          {"seed", options.sampling.seed},
          {"max_new_tokens", options.max_new_tokens},
          {"stop_ids", options.stop_ids},
          {"draw", sequence.draw}};
}

NewSequence sequence_of(const json& item) {
  NewSequence sequence;
  item.at("key").get_to(sequence.key);
  item.at("prompt").get_to(sequence.prompt);
  GenerationOptions& options = sequence.options;
  item.at("temperature").get_to(options.sampling.temperature);
  item.at("top_k").get_to(options.sampling.top_k);
  item.at("top_p").get_to(options.sampling.top_p);
  item.at("seed").get_to(options.sampling.seed);
  item.at("max_new_tokens").get_to(options.max_new_tokens);
  item.at("stop_ids").get_to(options.stop_ids);
  item.at("draw").get_to(sequence.draw);
  return sequence;
}

}  // namespace

std::string plan_bytes(const StepPlan& plan) {
  json added = json::array();
  for (const NewSequence& sequence : plan.added) added.push_back(json_of(sequence));
  std::string bytes;
  json::to_cbor({{"is_last", plan.is_last},
                 {"model", plan.model},
                 {"removed", plan.removed},
                 {"added", std::move(added)}},
                bytes);
  return bytes;
}

StepPlan plan_of_bytes(const std::string& bytes) {
  const json document = json::from_cbor(bytes);
  StepPlan plan;
  document.at("is_last").get_to(plan.is_last);
  document.at("model").get_to(plan.model);
  document.at("removed").get_to(plan.removed);
  for (const json& item : document.at("added")) plan.added.push_back(sequence_of(item));
  return plan;
}

}  // namespace molora
