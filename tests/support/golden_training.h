// Golden training runs as inputs of the real training step.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "export/published_names.h"
#include "support/golden_folder.h"
#include "support/loaded_model.h"
#include "support/training_run.h"
#include "train/train_step.h"

namespace molora::testing {

inline void set_target(TargetsConfig& targets, const std::string& name, TargetsConfig::Kind kind) {
  const auto* field = TargetsConfig::descriptor()->FindFieldByName(name);
  if (field == nullptr) throw std::runtime_error("golden names an unknown linear: " + name);
  targets.GetReflection()->SetEnumValue(&targets, field, kind);
}

// The adapter that a golden file's "config" describes.
inline AdapterConfig adapter_of_golden(const nlohmann::json& config) {
  AdapterConfig adapter = frozen_adapters();
  adapter.set_lora_dropout(0.0);
  adapter.set_num_experts(config.at("num_experts").get<uint32_t>());
  adapter.set_experts_per_token(config.at("num_experts_per_token").get<uint32_t>());
  adapter.set_lora_rank(config.at("r").get<uint32_t>());
  adapter.set_lora_alpha(config.at("lora_alpha").get<double>());
  adapter.set_rslora(config.value("use_rslora", false));
  TargetsConfig& targets = *adapter.mutable_targets();
  const std::vector<std::string> mlp = {"gate_proj", "up_proj", "down_proj"};
  const std::vector<std::string> attention = {"q_proj", "k_proj", "v_proj", "o_proj"};
  for (const std::string& name : config.value("molora_targets", mlp)) {
    set_target(targets, name, TargetsConfig::experts);
  }
  const bool attn_lora = config.value("attn_lora", true);
  for (const std::string& name :
       config.value("attn_lora_targets", attn_lora ? attention : std::vector<std::string>{})) {
    set_target(targets, name, TargetsConfig::lora);
  }
  RouterConfig& router = *adapter.mutable_router();
  const std::string routing = config.at("routing").get<std::string>();
  if (routing.starts_with("topk_softmax")) {
    router.set_gate(RouterConfig::topk_softmax);
  } else if (routing.starts_with("softmax_topk")) {
    router.set_gate(RouterConfig::softmax_topk);
  } else if (routing.find("dense") != std::string::npos) {
    router.set_gate(RouterConfig::dense_softmax);
  } else {
    throw std::runtime_error("golden asks for an unknown routing: " + routing);
  }
  // "total": "ce + 0.01*switch_aux(valid tokens) + 0.001*z(valid tokens)"
  const std::string total = config.value("total", "");
  const auto coefficient = [&total](const std::string& loss) {
    const size_t at = total.find("*" + loss);
    if (at == std::string::npos) return 0.0;
    return std::stod(total.substr(total.rfind(' ', at) + 1));
  };
  router.set_balance_loss_coef(coefficient("switch"));
  router.set_z_loss_coef(coefficient("z"));
  return adapter;
}

// Right-padded [rows, length] ids and labels (-100: not supervised) as one row per sample. Without
// a mask, a row ends before its trailing pad_id.
struct PaddedBatch {
  at::Tensor ids;
  at::Tensor labels;
  at::Tensor mask;  // may be undefined
  int64_t pad_id = -1;
};

inline std::vector<TrainRow> rows_of_padded(const PaddedBatch& batch) {
  const at::Tensor ids = batch.ids.to(at::kLong).contiguous();
  const at::Tensor labels = batch.labels.to(at::kLong).contiguous();
  std::vector<TrainRow> rows;
  for (int64_t row = 0; row < ids.size(0); ++row) {
    int64_t length = ids.size(1);
    if (batch.mask.defined()) {
      length = batch.mask[row].sum().item<int64_t>();
    } else {
      // The last token that is supervised or is not padding.
      while (length > 0 && ids[row][length - 1].item<int64_t>() == batch.pad_id &&
             labels[row][length - 1].item<int64_t>() == -100) {
        --length;
      }
    }
    TrainSequence sequence;
    sequence.sample = row;
    for (int64_t t = 0; t < length; ++t) {
      sequence.ids.push_back(ids[row][t].item<int32_t>());
      sequence.supervised.push_back(labels[row][t].item<int64_t>() != -100 ? 1 : 0);
    }
    rows.push_back({sequence});
  }
  return rows;
}

inline TrainConfig train_config_of_golden(const nlohmann::json& optim) {
  TrainConfig config;
  config.set_micro_batch_size(64);
  config.set_learning_rate(optim.contains("lr") ? optim["lr"].get<double>()
                                                : optim.at("AdamW_lr").get<double>());
  config.set_adam_beta1(optim.at("betas")[0].get<double>());
  config.set_adam_beta2(optim.at("betas")[1].get<double>());
  config.set_adam_eps(optim.at("eps").get<double>());
  config.set_weight_decay(optim.at("weight_decay").get<double>());
  config.set_clip_norm(optim.contains("max_grad_norm") ? optim["max_grad_norm"].get<double>()
                                                       : optim.at("clip").get<double>());
  config.set_schedule(TrainConfig::constant);
  return config;
}

// One process with everything that a training step needs.
class GoldenTrainer {
 public:
  GoldenTrainer(const std::filesystem::path& folder, const AdapterConfig& adapter,
                const TrainConfig& train, const ExpertWays& ways = {})
      : trained_(folder, adapter, Mesh::single(), {.expert_ways = ways}, at::kFloat,
                 {.train = train, .seed = 0}),
        train_(train) {}

  StepResult run(int64_t step, const std::vector<TrainRow>& rows) {
    return trained_.step().run(step, deal_rows(rows, 0, 1, train_.micro_batch_size()),
                               train_.learning_rate());
  }
  LoadedModel& loaded() { return trained_.loaded(); }
  const TrainStep& step() { return trained_.step(); }

  // The gradients of the latest step under their published names.
  TensorMap published_gradients(PublishedForm form = PublishedForm::kMing) {
    TensorMap result;
    const auto& parameters = loaded().adapters().parameters();
    for (size_t i = 0; i < parameters.size(); ++i) {
      const LinearAdapter& linear = linear_of(loaded().adapters(), parameters[i]);
      for (const auto& part : to_published(linear, parameters[i], step().gradients()[i], form)) {
        result[part.name] = part.value;
      }
    }
    return result;
  }

 private:
  TrainedModel trained_;
  TrainConfig train_;
};

}  // namespace molora::testing
