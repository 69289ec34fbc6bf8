#include "export/moe_peft_config.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "model/adapter_placement.h"
#include "model/linear_kind.h"

namespace molora {

namespace {

using nlohmann::json;

// What the packages take for what is not there.
constexpr uint32_t kDefaultTopK = 2;
constexpr double kDefaultTopP = 0.8;

// Both packages refuse a dropout of 0, and apply that of experts at inference too. This one lets
// every number pass: 1 - p is 1 in fp32.
constexpr double kLeastDropout = 1e-9;

// Keys that decide nothing about a trained adapter's results.
constexpr std::array<std::string_view, 10> kWithoutEffect = {"inference_mode",
                                                             "lora_dropout",
                                                             "lora_init",
                                                             "name",
                                                             "router_aux_loss_coef",
                                                             "router_loss",
                                                             "router_init_range",
                                                             "router_z_loss_coef",
                                                             "task_name",
                                                             "task_type"};
// Keys that are read.
constexpr std::array<std::string_view, 15> kRead = {"act_fn",       "base_model_name_or_path",
                                                    "bias",         "expert_lora",
                                                    "jitter_noise", "lora_alpha",
                                                    "num_experts",  "r",
                                                    "peft_type",    "routing_strategy",
                                                    "temperature",  "target_modules",
                                                    "top_k",        "top_p",
                                                    "use_rslora"};

bool is_mixlora(const ConfigFields& fields) { return fields.text("peft_type", "") == "MIXLORA"; }

void check_fields(const ConfigFields& fields) {
  if (fields.text("bias", "none") != "none") fields.fail("bias", "\"none\"");
  const std::string activation = fields.text("act_fn", "silu");
  if (activation != "silu" && activation != "swish") fields.fail("act_fn", "\"silu\"");
  if (fields.number("jitter_noise", 0.0) != 0.0) fields.fail("jitter_noise", "0");
  if (fields.number("temperature", 0.0) != 0.0) fields.fail("temperature", "0");
  refuse_unknown(fields, kRead, kWithoutEffect);
}

// Experts may have numbers of their own in the file; here all linears have the same.
void check_expert_lora(const ConfigFields& fields) {
  const json own = fields.object().value("expert_lora", json());
  if (own.is_null()) return;
  if (!own.is_object()) fields.fail("expert_lora", "an object");
  for (const auto& [key, value] : own.items()) {
    if (is_one_of(kWithoutEffect, key) || is_unused(value)) continue;
    const auto outer = fields.object().find(key);
    if (outer != fields.object().end() && *outer == value) continue;
    if (key == "bias" && value == "none") continue;
    fields.fail("expert_lora",
                fmt::format("{} to be that of the file: experts and plain LoRA have one", key));
  }
}

void set_gate(const ConfigFields& fields, AdapterConfig& adapter) {
  RouterConfig& router = *adapter.mutable_router();
  const bool is_block = is_mixlora(fields);
  const std::string strategy = fields.text("routing_strategy", is_block ? "" : "mola");
  router.set_bias(false);
  router.set_scope(is_block ? RouterConfig::block : RouterConfig::linear);
  if (strategy == (is_block ? "mixlora" : "mola")) {
    router.set_gate(RouterConfig::softmax_topk_renorm);
    adapter.set_experts_per_token(fields.has("top_k") ? fields.count("top_k") : kDefaultTopK);
  } else if (is_block && strategy == "mixlora-dynamic") {
    router.set_gate(RouterConfig::top_p);
    router.set_top_p_mass(fields.number("top_p", kDefaultTopP));
    if (!(router.top_p_mass() > 0.0 && router.top_p_mass() < 1.0)) {
      fields.fail("top_p", "a number between 0 and 1");
    }
  } else {
    fields.fail("routing_strategy", is_block ? "\"mixlora\" or \"mixlora-dynamic\"" : "\"mola\"");
  }
}

bool is_mlp(std::string_view name) {
  return name == "gate_proj" || name == "up_proj" || name == "down_proj";
}

void set_targets(const ConfigFields& fields, TargetsConfig& targets) {
  set_all_targets(TargetsConfig::frozen, targets);
  const bool is_block = is_mixlora(fields);
  const json& modules = fields.object().value("target_modules", json());
  std::vector<std::string> names;
  if (modules.is_object()) {
    for (const auto& [name, is_used] : modules.items()) {
      if (is_used == true) names.push_back(name);
    }
  } else if (modules.is_array()) {
    for (const json& name : modules) {
      if (!name.is_string()) fields.fail("target_modules", "names of linears");
      names.push_back(name.get<std::string>());
    }
  }
  if (names.empty()) fields.fail("target_modules", "a list of names of linears");
  if (is_block && std::none_of(names.begin(), names.end(), is_mlp)) {
    fields.fail("target_modules", "at least one of gate_proj, up_proj and down_proj");
  }
  for (const std::string& name : names) {
    set_target_module(fields, name,
                      is_block && !is_mlp(name) ? TargetsConfig::lora : TargetsConfig::experts,
                      targets);
  }
}

}  // namespace

bool is_moe_peft_config(const ConfigFields& fields) {
  const std::string type = fields.text("peft_type", "");
  return type == "MIXLORA" || type == "MOLA";
}

AdapterConfig read_moe_peft_config(const ConfigFields& fields) {
  check_fields(fields);
  check_expert_lora(fields);
  AdapterConfig adapter;
  adapter.set_lora_rank(fields.count("r"));
  adapter.set_lora_alpha(fields.positive("lora_alpha"));
  adapter.set_rslora(fields.flag("use_rslora", false));
  adapter.set_num_experts(fields.count("num_experts"));
  if (adapter.num_experts() == 1) fields.fail("num_experts", "at least 2");
  set_gate(fields, adapter);
  set_targets(fields, *adapter.mutable_targets());
  return adapter;
}

json moe_peft_config(const AdapterConfig& adapter, const std::string& base_model) {
  const RouterConfig& router = adapter.router();
  const bool is_block = router.scope() == RouterConfig::block;
  json targets = json::array();
  for (const LinearKind kind : kLinearKinds) {
    if (adapter_spec(adapter, kind, 0).kind != TargetsConfig::frozen) {
      targets.push_back(linear_name(kind));
    }
  }
  json config = {{"base_model_name_or_path", base_model},
                 {"bias", "none"},
                 {"lora_alpha", std::llround(adapter.lora_alpha())},
                 {"lora_dropout", kLeastDropout},
                 {"num_experts", adapter.num_experts()},
                 {"peft_type", is_block ? "MIXLORA" : "MOLA"},
                 {"r", adapter.lora_rank()},
                 {"routing_strategy", is_block ? "mixlora" : "mola"},
                 {"target_modules", targets},
                 {"task_type", "CAUSAL_LM"}};
  if (adapter.rslora()) config["use_rslora"] = true;
  if (is_block) config["act_fn"] = "silu";
  if (router.gate() == RouterConfig::top_p) {
    config["routing_strategy"] = "mixlora-dynamic";
    config["top_p"] = router.top_p_mass();
    config["temperature"] = 0.0;
  } else {
    config["top_k"] = adapter.experts_per_token();
  }
  return config;
}

}  // namespace molora
