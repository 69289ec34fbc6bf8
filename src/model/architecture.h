// What a published config.json says about a decoder: sizes, attention, positions.
//
// Families: Llama 1-3 (`llama`), Mistral (`mistral`), Qwen1.5/2/2.5 (`qwen2`), Qwen3 (`qwen3`), in
// the dialect of transformers 4 (rope_theta, rope_scaling, torch_dtype) and of transformers 5
// (rope_parameters, dtype). A field that is not known here is refused unless the caller names it:
// a model that is computed differently from what its file says is worse than none.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

enum class Family { kLlama, kMistral, kQwen2, kQwen3 };

// Rotary position embedding (Su et al. 2021, arXiv 2104.09864).
struct Rope {
  double theta = 10000.0;
  // Frequency scaling of Llama 3.1 and later; absent: plain rotary embedding.
  struct Llama3 {
    double factor = 1.0;
    double low_freq_factor = 1.0;
    double high_freq_factor = 1.0;
    double original_max_position = 0.0;
    bool operator==(const Llama3&) const = default;
  };
  std::optional<Llama3> llama3;
};

struct Architecture {
  Family family = Family::kLlama;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  int64_t max_position = 0;
  double rms_norm_eps = 0.0;
  bool has_qkv_bias = false;
  bool has_o_bias = false;
  bool has_mlp_bias = false;
  bool has_qk_norm = false;  // RMSNorm over each head of q and k (Qwen3)
  bool has_tied_head = false;
  Rope rope;
  // Per layer: a token attends to itself and the window - 1 tokens before it; 0: to all before it.
  std::vector<int64_t> attention_window;
  // Ids that end a generated text (eos_token_id: one or a list); may be empty.
  std::vector<int32_t> eos_ids;

  int64_t q_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
};

// Reads <folder>/config.json. `ignored_fields`: names the caller vouches for.
// Throws: DataError with file, field, what was expected and what was found.
Architecture read_architecture(const std::filesystem::path& folder,
                               const std::vector<std::string>& ignored_fields);

// The same from text; `origin` names it in messages.
Architecture parse_architecture(std::string_view json_text, const std::string& origin,
                                const std::vector<std::string>& ignored_fields);

// Parameters of the base model, the tied head counted once.
int64_t count_base_parameters(const Architecture& architecture);

}  // namespace molora
