#include "model/architecture.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"
#include "io/strict_json.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxConfigBytes = 16 << 20;
constexpr int64_t kMaxSize = int64_t{1} << 24;  // keeps every product of sizes inside int64

// Fields that say nothing about the forward pass of the models here.
const std::set<std::string, std::less<>> kHarmless = {"_name_or_path",
                                                      "_attn_implementation",
                                                      "_attn_implementation_autoset",
                                                      "_commit_hash",
                                                      "add_cross_attention",
                                                      "architectures",
                                                      "auto_map",
                                                      "bad_words_ids",
                                                      "begin_suppress_tokens",
                                                      "bos_token_id",
                                                      "chunk_size_feed_forward",
                                                      "cross_attention_hidden_size",
                                                      "decoder_start_token_id",
                                                      "diversity_penalty",
                                                      "do_sample",
                                                      "dtype",
                                                      "early_stopping",
                                                      "encoder_no_repeat_ngram_size",
                                                      "eos_token_id",
                                                      "exponential_decay_length_penalty",
                                                      "finetuning_task",
                                                      "forced_bos_token_id",
                                                      "forced_eos_token_id",
                                                      "gradient_checkpointing",
                                                      "id2label",
                                                      "initializer_range",
                                                      "is_decoder",
                                                      "is_encoder_decoder",
                                                      "label2id",
                                                      "length_penalty",
                                                      "max_length",
                                                      "max_new_tokens",
                                                      "min_length",
                                                      "model_max_length",
                                                      "model_type",
                                                      "no_repeat_ngram_size",
                                                      "num_beam_groups",
                                                      "num_beams",
                                                      "num_return_sequences",
                                                      "output_attentions",
                                                      "output_hidden_states",
                                                      "output_scores",
                                                      "pad_token_id",
                                                      "prefix",
                                                      "pretraining_tp",
                                                      "problem_type",
                                                      "remove_invalid_values",
                                                      "repetition_penalty",
                                                      "return_dict",
                                                      "return_dict_in_generate",
                                                      "sep_token_id",
                                                      "suppress_tokens",
                                                      "task_specific_params",
                                                      "temperature",
                                                      "tf_legacy_loss",
                                                      "tie_encoder_decoder",
                                                      "tokenizer_class",
                                                      "top_k",
                                                      "top_p",
                                                      "torch_dtype",
                                                      "torchscript",
                                                      "transformers_version",
                                                      "transformers.js_config",
                                                      "typical_p",
                                                      "unsloth_version",
                                                      "use_bfloat16",
                                                      "use_cache"};

// One config.json being read: typed access with messages, and a note of what was used.
class Fields {
 public:
  Fields(const json& object, const std::string& origin) : object_(object), origin_(origin) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw DataError(fmt::format("{}: {}", origin_, what));
  }

  // The value of a field, or nullptr when it is missing or null. The field counts as known.
  const json* get(const std::string& name) {
    used_.insert(name);
    const auto found = object_.find(name);
    return found == object_.end() || found->is_null() ? nullptr : &*found;
  }

  std::optional<int64_t> size(const std::string& name) {
    const json* value = get(name);
    if (value == nullptr) return std::nullopt;
    if (!value->is_number_integer() || value->get<int64_t>() <= 0 ||
        value->get<int64_t>() > kMaxSize) {
      fail(fmt::format("{} is {}, expected a positive integer", name, value->dump()));
    }
    return value->get<int64_t>();
  }
  int64_t required_size(const std::string& name) {
    const auto value = size(name);
    if (!value) fail(fmt::format("{} is missing", name));
    return *value;
  }
  double number(const std::string& name, double otherwise) {
    const json* value = get(name);
    if (value == nullptr) return otherwise;
    if (!value->is_number() || !std::isfinite(value->get<double>())) {
      fail(fmt::format("{} is {}, expected a number", name, value->dump()));
    }
    return value->get<double>();
  }
  bool flag(const std::string& name, bool otherwise) {
    const json* value = get(name);
    if (value == nullptr) return otherwise;
    if (!value->is_boolean())
      fail(fmt::format("{} is {}, expected true or false", name, value->dump()));
    return value->get<bool>();
  }
  std::string text(const std::string& name) {
    const json* value = get(name);
    if (value == nullptr) return {};
    if (!value->is_string()) fail(fmt::format("{} is {}, expected a string", name, value->dump()));
    return value->get<std::string>();
  }

  void refuse_unknown(const std::vector<std::string>& ignored) const {
    std::string unknown;
    for (const auto& [name, value] : object_.items()) {
      const bool known = used_.count(name) > 0 || kHarmless.count(name) > 0 ||
                         std::find(ignored.begin(), ignored.end(), name) != ignored.end();
      if (!known)
        unknown += fmt::format("{}{} = {:.60}", unknown.empty() ? "" : "; ", name, value.dump());
    }
    if (!unknown.empty()) {
      fail(
          fmt::format("fields that are not supported and may change the result: {}. If you know "
                      "that one does not, add its name to model.ignore_config_fields",
                      unknown));
    }
  }

 private:
  const json& object_;
  const std::string& origin_;
  std::set<std::string> used_;
};

struct FamilyName {
  const char* model_type;
  const char* architecture;
  Family family;
};
constexpr FamilyName kFamilies[] = {{"llama", "LlamaForCausalLM", Family::kLlama},
                                    {"mistral", "MistralForCausalLM", Family::kMistral},
                                    {"qwen2", "Qwen2ForCausalLM", Family::kQwen2},
                                    {"qwen3", "Qwen3ForCausalLM", Family::kQwen3}};

Family read_family(Fields& fields) {
  const std::string model_type = fields.text("model_type");
  for (const FamilyName& family : kFamilies) {
    if (model_type != family.model_type) continue;
    if (const json* names = fields.get("architectures")) {
      if (*names != json::array({family.architecture})) {
        fields.fail(fmt::format("architectures is {}, expected [\"{}\"] for model_type {}",
                                names->dump(), family.architecture, model_type));
      }
    }
    return family.family;
  }
  fields.fail(
      fmt::format("model_type is '{}'; supported: llama, mistral, qwen2, qwen3", model_type));
}

// A field that may stand there as long as it says what this program does anyway.
void require_value(Fields& fields, const std::string& name, const json& expected) {
  const json* value = fields.get(name);
  if (value != nullptr && *value != expected) {
    fields.fail(
        fmt::format("{} is {}; only {} is supported", name, value->dump(), expected.dump()));
  }
}

void refuse_what_is_not_done(Fields& fields) {
  const std::string activation = fields.text("hidden_act");
  if (!activation.empty() && activation != "silu" && activation != "swish") {
    fields.fail(fmt::format("hidden_act is '{}'; only silu is supported", activation));
  }
  if (fields.number("attention_dropout", 0.0) != 0.0) {
    fields.fail("attention_dropout is not 0; the frozen base is computed without dropout");
  }
  if (fields.get("quantization_config") != nullptr) {
    fields.fail(
        "quantization_config is set; quantised weights are not supported, use the fp16 or "
        "bf16 weights of the model");
  }
  require_value(fields, "pruned_heads", json::object());
  require_value(fields, "partial_rotary_factor", 1.0);
  require_value(fields, "rope_interleaved", false);
  require_value(fields, "layer_norm_epsilon", nullptr);
}

double rope_number(const Fields& fields, const json& object, const char* name) {
  const auto found = object.find(name);
  if (found == object.end() || !found->is_number() || !(found->get<double>() > 0)) {
    fields.fail(fmt::format("the llama3 rope scaling needs a positive {}", name));
  }
  return found->get<double>();
}

// A rope_scaling (transformers 4) or rope_parameters (transformers 5) object.
void read_rope_object(const Fields& fields, const std::string& name, const json& object,
                      Rope& rope) {
  if (!object.is_object()) fields.fail(fmt::format("{} is not an object", name));
  std::string type = "default";
  for (const char* key : {"type", "rope_type"}) {
    if (object.contains(key)) {
      if (!object[key].is_string()) fields.fail(fmt::format("{}.{} is not a string", name, key));
      type = object[key].get<std::string>();
    }
  }
  std::set<std::string> known = {"type", "rope_type", "rope_theta"};
  if (type == "llama3") {
    rope.llama3 = Rope::Llama3{rope_number(fields, object, "factor"),
                               rope_number(fields, object, "low_freq_factor"),
                               rope_number(fields, object, "high_freq_factor"),
                               rope_number(fields, object, "original_max_position_embeddings")};
    if (rope.llama3->high_freq_factor <= rope.llama3->low_freq_factor) {
      fields.fail(fmt::format("{}: high_freq_factor must be above low_freq_factor", name));
    }
    known.insert(
        {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"});
  } else if (type != "default") {
    fields.fail(fmt::format("{} asks for rope type '{}'; supported: default, llama3", name, type));
  }
  if (object.contains("partial_rotary_factor") && object["partial_rotary_factor"] == 1.0) {
    known.insert("partial_rotary_factor");
  }
  for (const auto& [key, value] : object.items()) {
    if (known.count(key) == 0) {
      fields.fail(fmt::format("{}.{} = {} is not supported with rope type '{}'", name, key,
                              value.dump(), type));
    }
  }
}

Rope read_rope(Fields& fields) {
  Rope scaling;
  Rope parameters;
  if (const json* object = fields.get("rope_scaling")) {
    read_rope_object(fields, "rope_scaling", *object, scaling);
  }
  const bool has_theta = fields.get("rope_theta") != nullptr;
  scaling.theta = fields.number("rope_theta", 10000.0);
  Rope rope = scaling;
  if (const json* object = fields.get("rope_parameters")) {
    read_rope_object(fields, "rope_parameters", *object, parameters);
    const auto theta = object->find("rope_theta");
    if (theta == object->end() || !theta->is_number()) {
      fields.fail("rope_parameters.rope_theta is missing");
    }
    parameters.theta = theta->get<double>();
    const bool disagree = (has_theta && scaling.theta != parameters.theta) ||
                          (scaling.llama3 && !(scaling.llama3 == parameters.llama3));
    if (disagree) fields.fail("rope_parameters disagrees with rope_theta or rope_scaling");
    rope = parameters;
  }
  if (!(rope.theta > 0)) fields.fail("rope_theta is not positive");
  return rope;
}

// The window of each layer, by the rules of each family in transformers.
std::vector<int64_t> read_windows(Fields& fields, Family family, int64_t num_layers) {
  const auto layers = static_cast<size_t>(num_layers);
  std::vector<int64_t> windows(layers, 0);
  const std::optional<int64_t> window = fields.size("sliding_window");
  const bool is_qwen = family == Family::kQwen2 || family == Family::kQwen3;
  const bool use_window = fields.flag("use_sliding_window", family == Family::kMistral);
  const json* first_windowed = fields.get("max_window_layers");
  if (first_windowed != nullptr && !first_windowed->is_number_unsigned()) {
    fields.fail("max_window_layers is not a number of layers");
  }
  const size_t first = !is_qwen ? 0 : first_windowed ? first_windowed->get<size_t>() : 28;
  if (family == Family::kLlama && window)
    fields.fail("sliding_window is not a field of llama models");
  if (use_window && window) {
    for (size_t i = first; i < layers; ++i) windows[i] = *window;
  }
  const json* types = fields.get("layer_types");
  if (types == nullptr) return windows;
  if (!types->is_array() || types->size() != layers) {
    fields.fail(fmt::format("layer_types is not a list of {} entries", layers));
  }
  for (size_t i = 0; i < layers; ++i) {
    const json& type = (*types)[i];
    if (type == "full_attention") {
      windows[i] = 0;
    } else if (type == "sliding_attention" && window) {
      windows[i] = *window;
    } else {
      fields.fail(
          fmt::format("layer_types[{}] is {}; supported: full_attention, and "
                      "sliding_attention with a sliding_window",
                      i, type.dump()));
    }
  }
  return windows;
}

void read_heads(Fields& fields, Architecture& a) {
  const std::optional<int64_t> kv_heads = fields.size("num_key_value_heads");
  if (!kv_heads && a.family != Family::kLlama) fields.fail("num_key_value_heads is missing");
  a.num_kv_heads = kv_heads.value_or(a.num_heads);
  if (a.num_heads % a.num_kv_heads != 0) {
    fields.fail(fmt::format("num_attention_heads {} is not a multiple of num_key_value_heads {}",
                            a.num_heads, a.num_kv_heads));
  }
  const std::optional<int64_t> head_dim = fields.size("head_dim");
  if (!head_dim && a.family != Family::kQwen3 && a.hidden_size % a.num_heads != 0) {
    fields.fail(
        fmt::format("hidden_size {} is not a multiple of num_attention_heads {} and head_dim "
                    "is not given",
                    a.hidden_size, a.num_heads));
  }
  a.head_dim = head_dim.value_or(a.family == Family::kQwen3 ? 128 : a.hidden_size / a.num_heads);
  if (a.q_size() > kMaxSize) fields.fail(fmt::format("the heads are {} wide in all", a.q_size()));
  if (a.head_dim % 2 != 0) fields.fail(fmt::format("head_dim {} is odd", a.head_dim));
}

void read_biases(Fields& fields, Architecture& a) {
  if (a.family == Family::kQwen2) {
    require_value(fields, "attention_bias", true);  // q, k and v always have one, o never
    a.has_qkv_bias = true;
  } else if (a.family == Family::kMistral) {
    require_value(fields, "attention_bias", false);
  } else {
    a.has_qkv_bias = a.has_o_bias = fields.flag("attention_bias", false);
  }
  if (a.family == Family::kLlama) {
    a.has_mlp_bias = fields.flag("mlp_bias", false);
  } else {
    require_value(fields, "mlp_bias", false);
  }
}

std::vector<int32_t> read_eos(Fields& fields) {
  std::vector<int32_t> ids;
  const json* value = fields.get("eos_token_id");
  if (value == nullptr) return ids;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > 0x7fffffff) {
      fields.fail(fmt::format("eos_token_id is {}, expected token ids", value->dump()));
    }
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

}  // namespace

Architecture parse_architecture(std::string_view json_text, const std::string& origin,
                                const std::vector<std::string>& ignored_fields) {
  const json object = parse_json_object(json_text, origin);
  Fields fields(object, origin);
  Architecture a;
  a.family = read_family(fields);
  a.vocab_size = fields.required_size("vocab_size");
  a.hidden_size = fields.required_size("hidden_size");
  a.intermediate_size = fields.required_size("intermediate_size");
  a.num_layers = fields.required_size("num_hidden_layers");
  if (a.num_layers > 10000) fields.fail(fmt::format("num_hidden_layers is {}", a.num_layers));
  a.num_heads = fields.required_size("num_attention_heads");
  a.max_position = fields.required_size("max_position_embeddings");
  a.rms_norm_eps = fields.number("rms_norm_eps", 1e-6);
  a.has_tied_head = fields.flag("tie_word_embeddings", false);
  a.has_qk_norm = a.family == Family::kQwen3;
  read_heads(fields, a);
  read_biases(fields, a);
  a.rope = read_rope(fields);
  a.attention_window = read_windows(fields, a.family, a.num_layers);
  a.eos_ids = read_eos(fields);
  refuse_what_is_not_done(fields);
  fields.refuse_unknown(ignored_fields);
  return a;
}

Architecture read_architecture(const std::filesystem::path& folder,
                               const std::vector<std::string>& ignored_fields) {
  const std::filesystem::path path = folder / "config.json";
  return parse_architecture(read_file(path, kMaxConfigBytes), path.string(), ignored_fields);
}

int64_t count_base_parameters(const Architecture& a) {
  const int64_t attention = a.hidden_size * (2 * a.q_size() + 2 * a.kv_size()) +
                            (a.has_qkv_bias ? a.q_size() + 2 * a.kv_size() : 0) +
                            (a.has_o_bias ? a.hidden_size : 0) +
                            (a.has_qk_norm ? 2 * a.head_dim : 0);
  const int64_t mlp = 3 * a.hidden_size * a.intermediate_size +
                      (a.has_mlp_bias ? 2 * a.intermediate_size + a.hidden_size : 0);
  const int64_t norms = 2 * a.hidden_size;
  const int64_t embeddings = a.vocab_size * a.hidden_size * (a.has_tied_head ? 1 : 2);
  return a.num_layers * (attention + mlp + norms) + embeddings + a.hidden_size;
}

}  // namespace molora
