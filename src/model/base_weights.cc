#include "model/base_weights.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "base/nearest_name.h"
#include "io/digest.h"
#include "io/file.h"
#include "io/strict_json.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxIndexBytes = 64 << 20;
constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";

struct FoundTensor {
  std::shared_ptr<const SafetensorsFile> file;
  TensorEntry entry;
};
using FoundTensors = std::map<std::string, FoundTensor>;

void add_linear(std::vector<ExpectedTensor>& list, const std::string& name, int64_t out, int64_t in,
                bool has_bias) {
  list.push_back({name + ".weight", {out, in}});
  if (has_bias) list.push_back({name + ".bias", {out}});
}

// Tensor name -> file name, from the index of a sharded model.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path) {
  const json index = parse_json_object(read_file(path, kMaxIndexBytes), path.string());
  if (!index.contains("weight_map") || !index["weight_map"].is_object()) {
    throw DataError(fmt::format("{}: expected a JSON object with a weight_map", path.string()));
  }
  std::map<std::string, std::string> map;
  for (const auto& [name, file] : index["weight_map"].items()) {
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      throw DataError(
          fmt::format("{}: weight_map[{}] is {}, expected the name of a file in the same "
                      "folder",
                      path.string(), name, file.dump()));
    }
    map[name] = file.get<std::string>();
  }
  return map;
}

FoundTensors open_shards(const std::filesystem::path& folder) {
  const std::filesystem::path index_path = folder / kIndexName;
  const auto weight_map = read_weight_map(index_path);
  std::set<std::string> files;
  for (const auto& [name, file] : weight_map) files.insert(file);
  FoundTensors found;
  for (const std::string& name : files) {
    const auto file = std::make_shared<const SafetensorsFile>(folder / name);
    for (const TensorEntry& entry : file->entries()) {
      const auto mapped = weight_map.find(entry.name);
      if (mapped == weight_map.end() || mapped->second != name) {
        throw DataError(fmt::format("{}: tensor {} is not listed for this file in {}",
                                    file->path().string(), entry.name, kIndexName));
      }
      found[entry.name] = {file, entry};
    }
  }
  for (const auto& [name, file] : weight_map) {
    if (found.count(name) == 0) {
      throw DataError(fmt::format("{}: tensor {} is listed in {}, but is not in that file",
                                  index_path.string(), name, file));
    }
  }
  return found;
}

FoundTensors open_folder(const std::filesystem::path& folder) {
  const bool has_single = std::filesystem::exists(folder / kSingleName);
  const bool has_index = std::filesystem::exists(folder / kIndexName);
  if (has_single && has_index) {
    throw DataError(fmt::format("{}: holds both {} and {}; remove the one that is not meant",
                                folder.string(), kSingleName, kIndexName));
  }
  if (has_index) return open_shards(folder);
  if (!has_single) {
    throw DataError(
        fmt::format("{}: holds neither {} nor {}. Weights in .bin or .gguf files must be "
                    "converted to safetensors first",
                    folder.string(), kSingleName, kIndexName));
  }
  const auto file = std::make_shared<const SafetensorsFile>(folder / kSingleName);
  FoundTensors found;
  for (const TensorEntry& entry : file->entries()) found[entry.name] = {file, entry};
  return found;
}

[[noreturn]] void fail(const FoundTensor& tensor, const std::string& what) {
  throw DataError(
      fmt::format("{}: tensor {}: {}", tensor.file->path().string(), tensor.entry.name, what));
}

// The frequencies that old Llama files carry along must be the ones that will be used.
void check_stored_frequencies(const FoundTensor& tensor, const Architecture& a) {
  const Tensor stored = mapped_tensor(tensor.file, tensor.entry).to(at::kDouble).flatten();
  bool same = !a.rope.llama3 && stored.numel() == a.head_dim / 2;
  for (int64_t i = 0; same && i < stored.numel(); ++i) {
    const double expected =
        std::pow(a.rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(a.head_dim));
    same = std::abs(stored[i].item<double>() - expected) <= 0.01 * expected;
  }
  if (!same) fail(tensor, "stored rotary frequencies differ from those of config.json");
}

// Tensors beside the expected ones that may stand in a file because they say nothing new.
bool is_harmless_extra(const FoundTensor& tensor, const FoundTensors& found,
                       const Architecture& a) {
  const std::string& name = tensor.entry.name;
  if (name.ends_with(".rotary_emb.inv_freq")) {
    check_stored_frequencies(tensor, a);
    return true;
  }
  const auto embedding = found.find("model.embed_tokens.weight");
  if (name != "lm_head.weight" || !a.has_tied_head || embedding == found.end()) return false;
  const auto head_bytes = tensor.file->bytes(tensor.entry);
  const auto embedding_bytes = embedding->second.file->bytes(embedding->second.entry);
  if (!std::equal(head_bytes.begin(), head_bytes.end(), embedding_bytes.begin(),
                  embedding_bytes.end())) {
    fail(tensor, "differs from model.embed_tokens.weight although tie_word_embeddings is true");
  }
  return true;
}

void check_names(const FoundTensors& found, const std::vector<ExpectedTensor>& expected,
                 const Architecture& architecture, const std::filesystem::path& folder) {
  std::set<std::string> names;
  std::vector<std::string> left_over;
  for (const ExpectedTensor& tensor : expected) names.insert(tensor.name);
  for (const auto& [name, tensor] : found) {
    if (names.count(name) == 0 && !is_harmless_extra(tensor, found, architecture)) {
      left_over.push_back(name);
    }
  }
  for (const ExpectedTensor& tensor : expected) {
    if (found.count(tensor.name) > 0) continue;
    const std::string nearest = nearest_name(tensor.name, left_over);
    throw DataError(fmt::format("{}: tensor {} of shape {} is missing{}", folder.string(),
                                tensor.name, shape_text(tensor.shape),
                                nearest.empty() ? "" : "; the files hold " + nearest + " instead"));
  }
  if (!left_over.empty()) {
    const FoundTensor& first = found.at(left_over.front());
    fail(first,
         fmt::format("this architecture has no such tensor ({} such tensors in all); it would "
                     "be ignored and the result would be wrong",
                     left_over.size()));
  }
}

// Whether every element is finite, without a temporary as large as the tensor.
bool all_finite(const Tensor& tensor) {
  constexpr int64_t kPart = int64_t{1} << 22;
  const Tensor flat = tensor.flatten();
  for (int64_t begin = 0; begin < flat.numel(); begin += kPart) {
    const Tensor part = flat.slice(0, begin, std::min(begin + kPart, flat.numel()));
    // x - x is 0 for finite x and NaN otherwise; the sum is one pass without a mask.
    if (!(at::sub(part, part).sum(at::kFloat).item<float>() == 0.0f)) return false;
  }
  return true;
}

void check_tensor(const FoundTensor& found, const Shape& shape, const Tensor& stored) {
  if (found.entry.shape != shape) {
    fail(found, fmt::format("has shape {}, config.json asks for {}", shape_text(found.entry.shape),
                            shape_text(shape)));
  }
  if (!stored.is_floating_point()) {
    fail(found, fmt::format("has element type {}, expected F32, F16 or BF16",
                            dtype_name(found.entry.dtype)));
  }
  if (!all_finite(stored)) fail(found, "holds NaN or infinite values");
}

std::string combine_digests(const std::vector<std::string>& names,
                            const std::map<std::string, std::string>& digests) {
  std::vector<std::string> sorted = names;
  std::sort(sorted.begin(), sorted.end());
  std::string text;
  for (const std::string& name : sorted) text += fmt::format("{} {}\n", name, digests.at(name));
  return xxh3_hex(std::as_bytes(std::span(text.data(), text.size())));
}

}  // namespace

std::vector<ExpectedTensor> expected_tensors(const Architecture& a) {
  std::vector<ExpectedTensor> list;
  list.push_back({"model.embed_tokens.weight", {a.vocab_size, a.hidden_size}});
  for (int64_t i = 0; i < a.num_layers; ++i) {
    const std::string layer = fmt::format("model.layers.{}.", i);
    const std::string attention = layer + "self_attn.";
    list.push_back({layer + "input_layernorm.weight", {a.hidden_size}});
    add_linear(list, attention + "q_proj", a.q_size(), a.hidden_size, a.has_qkv_bias);
    add_linear(list, attention + "k_proj", a.kv_size(), a.hidden_size, a.has_qkv_bias);
    add_linear(list, attention + "v_proj", a.kv_size(), a.hidden_size, a.has_qkv_bias);
    if (a.has_qk_norm) {
      list.push_back({attention + "q_norm.weight", {a.head_dim}});
      list.push_back({attention + "k_norm.weight", {a.head_dim}});
    }
    add_linear(list, attention + "o_proj", a.hidden_size, a.q_size(), a.has_o_bias);
    list.push_back({layer + "post_attention_layernorm.weight", {a.hidden_size}});
    add_linear(list, layer + "mlp.gate_proj", a.intermediate_size, a.hidden_size, a.has_mlp_bias);
    add_linear(list, layer + "mlp.up_proj", a.intermediate_size, a.hidden_size, a.has_mlp_bias);
    add_linear(list, layer + "mlp.down_proj", a.hidden_size, a.intermediate_size, a.has_mlp_bias);
  }
  list.push_back({"model.norm.weight", {a.hidden_size}});
  if (!a.has_tied_head) list.push_back({"lm_head.weight", {a.vocab_size, a.hidden_size}});
  return list;
}

BaseWeights::BaseWeights(const std::filesystem::path& folder, const Architecture& architecture,
                         at::ScalarType compute_type) {
  const FoundTensors found = open_folder(folder);
  const std::vector<ExpectedTensor> expected = expected_tensors(architecture);
  check_names(found, expected, architecture, folder);
  std::map<std::string, std::string> digests;
  for (const ExpectedTensor& tensor : expected) {
    const FoundTensor& source = found.at(tensor.name);
    const Tensor stored = mapped_tensor(source.file, source.entry);
    check_tensor(source, tensor.shape, stored);
    digests[tensor.name] =
        fmt::format("{} {} {}", dtype_name(source.entry.dtype), shape_text(source.entry.shape),
                    xxh3_hex(source.file->bytes(source.entry)));
    tensors_[tensor.name] = stored.to(compute_type);
    names_.push_back(tensor.name);
    stored_bytes_ += static_cast<int64_t>(source.entry.bytes);
  }
  fingerprint_ = combine_digests(names_, digests);
}

Tensor BaseWeights::get(const std::string& name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? Tensor() : found->second;
}

std::string BaseWeights::memory_fingerprint() const {
  std::map<std::string, std::string> digests;
  for (const auto& [name, tensor] : tensors_) digests[name] = xxh3_hex(tensor_bytes(tensor));
  return combine_digests(names_, digests);
}

}  // namespace molora
