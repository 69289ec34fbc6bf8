#include "export/merged_model.h"

#include <algorithm>
#include <array>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include <ATen/core/grad_mode.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "export/adapter_folder.h"
#include "export/fixed_weight.h"
#include "io/file.h"
#include "io/safetensors.h"
#include "io/strict_json.h"
#include "model/weight_folder.h"
#include "tensor/tensor_bytes.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxTextBytes = uint64_t{256} << 20;
constexpr std::string_view kIndexName = "model.safetensors.index.json";

// Weights in whatever form: the merged ones take their place.
constexpr std::array<std::string_view, 10> kWeightEndings = {
    ".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx", ".ckpt", ".npz"};

bool is_weight_file(const std::filesystem::path& path) {
  const std::string ending = path.extension().string();
  return std::find(kWeightEndings.begin(), kWeightEndings.end(), ending) != kWeightEndings.end();
}

std::map<std::string, const LinearAdapter*> by_weight_name(const AdapterSet& adapters) {
  std::map<std::string, const LinearAdapter*> map;
  for (const LinearAdapter& linear : adapters.linears()) {
    map[fmt::format("model.{}.weight", linear.path)] = &linear;
  }
  return map;
}

bool is_float(DType dtype) { return at::isFloatingType(scalar_type(dtype)); }

class Merge {
 public:
  Merge(const AdapterSet& adapters, const MergeOptions& options)
      : adapters_(by_weight_name(adapters)), type_(options.type), task_(options.task) {}

  void write(const std::shared_ptr<const SafetensorsFile>& from,
             const std::filesystem::path& path) {
    std::vector<SafetensorsDeclaration> declarations;
    for (const TensorEntry& entry : from->entries()) {
      declarations.push_back({entry.name, stored_dtype(type_of(entry)), entry.shape});
    }
    SafetensorsWriter writer(path, std::move(declarations), from->metadata());
    for (const TensorEntry& entry : from->entries()) {
      const Tensor stored = mapped_tensor(from, entry);
      const auto found = adapters_.find(entry.name);
      const Tensor value =
          found == adapters_.end() ? stored : fixed_weight(stored, *found->second, task_);
      const Tensor written = value.to(type_of(entry)).contiguous();
      writer.write_next(tensor_bytes(written));
      total_bytes_ += written.nbytes();
      if (found != adapters_.end()) adapters_.erase(found);
    }
    writer.finish();
  }

  uint64_t total_bytes() const { return total_bytes_; }

  // Throws: DataError when a weight was in none of the files.
  void finish(const std::filesystem::path& folder) const {
    if (adapters_.empty()) return;
    throw DataError(fmt::format("{}: tensor {} is missing, {} adapters are left over",
                                folder.string(), adapters_.begin()->first, adapters_.size()));
  }

 private:
  at::ScalarType type_of(const TensorEntry& entry) const {
    return type_ && is_float(entry.dtype) ? *type_ : scalar_type(entry.dtype);
  }

  std::map<std::string, const LinearAdapter*> adapters_;  // still to come
  std::optional<at::ScalarType> type_;
  int64_t task_;
  uint64_t total_bytes_ = 0;
};

// "float32", as transformers spells it.
std::string_view type_name(at::ScalarType type) {
  switch (type) {
    case at::kDouble:
      return "float64";
    case at::kBFloat16:
      return "bfloat16";
    case at::kHalf:
      return "float16";
    default:
      return "float32";
  }
}

// config.json and the index say what the tensors are; the rest is copied.
void write_beside(const std::filesystem::path& from, const Merge& merge,
                  std::optional<at::ScalarType> type, const std::filesystem::path& folder) {
  const std::string name = from.filename().string();
  const std::string text = read_file(from, kMaxTextBytes);
  json changed;
  if (name == kModelConfigName && type) {
    changed = parse_json_object(text, from.string());
    changed[changed.contains("dtype") ? "dtype" : "torch_dtype"] = type_name(*type);
  } else if (name == kIndexName) {
    changed = parse_json_object(text, from.string());
    changed["metadata"]["total_size"] = merge.total_bytes();
  }
  write_file_atomic(folder / name, changed.is_null() ? text : changed.dump(2) + "\n");
}

}  // namespace

void write_merged_model(const AdapterSet& adapters, const std::filesystem::path& base_folder,
                        const MergeOptions& options, const std::filesystem::path& folder) {
  const at::NoGradGuard no_grad;
  std::map<std::filesystem::path, std::shared_ptr<const SafetensorsFile>> files;
  for (const auto& [name, tensor] : open_weight_folder(base_folder)) {
    files.emplace(tensor.file->path().filename(), tensor.file);
  }
  Merge merge(adapters, options);
  for (const auto& [name, file] : files) merge.write(file, folder / name);
  merge.finish(base_folder);
  for (const auto& entry : std::filesystem::directory_iterator(base_folder)) {
    const bool is_hidden = entry.path().filename().string().starts_with('.');
    if (!entry.is_regular_file() || is_hidden || is_weight_file(entry.path())) continue;
    write_beside(entry.path(), merge, options.type, folder);
  }
}

}  // namespace molora
