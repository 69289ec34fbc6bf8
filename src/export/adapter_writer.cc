#include "export/adapter_writer.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "export/adapter_folder.h"
#include "export/moe_peft_config.h"
#include "export/torch_archive.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "io/strict_json.h"
#include "model/linear_kind.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = uint64_t{16} << 20;

// The tensors in the type of the file; those of mixtures and of plain LoRA apart.
struct TensorsToWrite {
  std::vector<PublishedTensor> lora;
  std::vector<PublishedTensor> experts;
};

TensorsToWrite tensors_to_write(const AdapterToWrite& adapter) {
  TensorsToWrite result;
  for (const PublishedTensor& tensor : to_published(adapter.adapters)) {
    const bool is_of_mixture = tensor.name.find(".experts.") != std::string::npos ||
                               tensor.name.find(".switch.") != std::string::npos;
    (is_of_mixture ? result.experts : result.lora)
        .push_back({tensor.name, tensor.value.detach().to(adapter.type).contiguous()});
  }
  return result;
}

void write_safetensors(const std::vector<PublishedTensor>& tensors,
                       const std::filesystem::path& path) {
  std::vector<SafetensorsDeclaration> declarations;
  declarations.reserve(tensors.size());
  for (const PublishedTensor& tensor : tensors) {
    declarations.push_back(
        {tensor.name, stored_dtype(tensor.value.scalar_type()), tensor.value.sizes().vec()});
  }
  SafetensorsWriter writer(path, std::move(declarations), {{"format", "pt"}});
  for (const PublishedTensor& tensor : tensors) writer.write_next(tensor_bytes(tensor.value));
  writer.finish();
}

// The keys that PEFT 0.9 wrote and every later version reads.
json peft_config(const AdapterToWrite& adapter) {
  json targets = json::array();
  for (const LinearKind kind : kLinearKinds) {
    const AdapterSpec spec = adapter_spec(adapter.config, kind, 0);
    if (spec.kind != TargetsConfig::frozen && !spec.has_router()) {
      targets.push_back(linear_name(kind));
    }
  }
  return {{"alpha_pattern", json::object()},
          {"auto_mapping", nullptr},
          {"base_model_name_or_path", adapter.base_model},
          {"bias", "none"},
          {"fan_in_fan_out", false},
          {"inference_mode", true},
          {"init_lora_weights", true},
          {"layers_pattern", nullptr},
          {"layers_to_transform", nullptr},
          {"lora_alpha", adapter.config.lora_alpha()},
          {"lora_dropout", adapter.config.lora_dropout()},
          {"modules_to_save", nullptr},
          {"peft_type", "LORA"},
          {"r", adapter.config.lora_rank()},
          {"rank_pattern", json::object()},
          {"revision", nullptr},
          {"target_modules", targets},
          {"task_type", "CAUSAL_LM"},
          {"use_dora", adapter.config.dora()},
          {"use_rslora", adapter.config.rslora()}};
}

void write_json(const json& object, const std::filesystem::path& path) {
  write_file_atomic(path, object.dump(2) + "\n");
}

}  // namespace

void write_peft_adapter(const AdapterToWrite& adapter, const std::filesystem::path& folder) {
  write_json(peft_config(adapter), folder / kAdapterConfigName);
  write_safetensors(tensors_to_write(adapter).lora, folder / kAdapterTensorsName);
}

void write_ming_adapter(const AdapterToWrite& adapter, const std::filesystem::path& base_folder,
                        const std::filesystem::path& folder) {
  write_json(peft_config(adapter), folder / kAdapterConfigName);
  const TensorsToWrite tensors = tensors_to_write(adapter);
  write_safetensors(tensors.lora, folder / kAdapterTensorsName);
  write_torch_archive(folder / kExpertTensorsName, tensors.experts);
  const std::filesystem::path base_config = base_folder / kModelConfigName;
  json config = parse_json_object(read_file(base_config, kMaxConfigBytes), base_config.string());
  config["num_experts"] = adapter.config.num_experts();
  config["num_experts_per_token"] = adapter.config.experts_per_token();
  config["expert_selection"] =
      adapter.config.router().selection() == RouterConfig::sampled ? "sampling" : "topk";
  config["share_expert"] = false;
  config["output_logit_bias"] = false;
  config["router_loss_coeff"] = 0.0;
  config["router_loss_mode"] = "contrastive";
  write_json(config, folder / kModelConfigName);
}

void write_moe_peft_adapter(const AdapterToWrite& adapter, PublishedForm form,
                            const std::filesystem::path& folder) {
  write_json(moe_peft_config(adapter.config, adapter.base_model), folder / kAdapterConfigName);
  std::vector<PublishedTensor> tensors = to_published(adapter.adapters, form);
  for (PublishedTensor& tensor : tensors) {
    tensor.value = tensor.value.detach().to(adapter.type).contiguous();
  }
  write_torch_archive(folder / kAdapterPickleName, tensors);
}

void check_trained(const AdapterSet& adapters) {
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.lora_B.count_nonzero().item<int64_t>() != 0) continue;
    throw ConfigError(fmt::format(
        "B of {} is zero in every expert: this adapter is not trained and does nothing there",
        linear.path));
  }
}

}  // namespace molora
