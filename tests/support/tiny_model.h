// A small random model written to a folder, for tests that need one of a certain shape.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include "io/safetensors.h"
#include "model/base_weights.h"
#include "tensor/philox_tensor.h"
#include "tensor/tensor_bytes.h"

namespace molora::testing {

// A legal config.json of a two-layer GQA model; change fields before writing it.
inline nlohmann::json tiny_config() {
  return {{"architectures", {"Qwen2ForCausalLM"}},
          {"model_type", "qwen2"},
          {"hidden_act", "silu"},
          {"hidden_size", 16},
          {"intermediate_size", 24},
          {"num_hidden_layers", 2},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"vocab_size", 37},
          {"max_position_embeddings", 64},
          {"rms_norm_eps", 1e-6},
          {"rope_theta", 10000.0},
          {"tie_word_embeddings", true},
          {"torch_dtype", "float32"}};
}

// Writes config.json and model.safetensors with values that are not small or zero anywhere.
inline void write_tiny_model(const std::filesystem::path& folder, const nlohmann::json& config,
                             uint64_t seed = 5) {
  std::filesystem::create_directories(folder);
  std::ofstream(folder / "config.json") << config.dump();
  const Architecture architecture = read_architecture(folder, {});
  std::vector<SafetensorsWriter::Declaration> declarations;
  std::vector<at::Tensor> tensors;
  for (const ExpectedTensor& expected : expected_tensors(architecture)) {
    declarations.push_back({expected.name, DType::kF32, expected.shape});
    at::Tensor value = at::empty(expected.shape, at::kFloat);
    fill_uniform(value, expected.shape.size() == 1 ? 0.3 : 0.4, seed++, 0);
    if (expected.name.find("norm") != std::string::npos) value += 1.0;
    tensors.push_back(value);
  }
  SafetensorsWriter writer(folder / "model.safetensors", declarations, {});
  for (const at::Tensor& tensor : tensors) writer.write_next(tensor_bytes(tensor));
  writer.finish();
}

}  // namespace molora::testing
