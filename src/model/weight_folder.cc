#include "model/weight_folder.h"

#include <cstdint>
#include <set>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/file.h"
#include "io/strict_json.h"

namespace molora {

namespace {

using nlohmann::json;

constexpr uint64_t kMaxIndexBytes = 64 << 20;
constexpr char kIndexName[] = "model.safetensors.index.json";
constexpr char kSingleName[] = "model.safetensors";
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

StoredTensors open_shards(const std::filesystem::path& folder) {
  const std::filesystem::path index_path = folder / kIndexName;
  const auto weight_map = read_weight_map(index_path);
  std::set<std::string> files;
  for (const auto& [name, file] : weight_map) files.insert(file);
  StoredTensors found;
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

}  // namespace

StoredTensors open_weight_folder(const std::filesystem::path& folder) {
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
  StoredTensors found;
  for (const TensorEntry& entry : file->entries()) found[entry.name] = {file, entry};
  return found;
}

}  // namespace molora
