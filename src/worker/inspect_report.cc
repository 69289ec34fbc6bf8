#include "worker/inspect_report.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/natural_order.h"
#include "checkpoint/checkpoint_listing.h"
#include "checkpoint/manifest.h"
#include "checkpoint/saved_tensors.h"
#include "checkpoint/verify.h"

namespace molora {

namespace {

// One open checkpoint.
struct Opened {
  InspectedStep step;
  SavedTensors tensors;
};

Opened open_step(FileSystem& files, const std::filesystem::path& folder) {
  CheckpointManifest manifest = read_manifest(files, folder);
  SavedTensors tensors(files, folder, manifest);
  return {{folder, std::move(manifest)}, std::move(tensors)};
}

// The tensor with its values, or nothing when the checkpoint has none of this name.
struct Loaded {
  InspectedTensor tensor;
  Tensor value;
};

std::optional<Loaded> load(SavedTensors& tensors, const std::string& name) {
  const SavedTensor* saved = tensors.find(name);
  if (saved == nullptr) return std::nullopt;
  Loaded loaded;
  loaded.value = tensors.whole(name);
  loaded.tensor = {saved->dtype, saved->global_shape, static_cast<int64_t>(saved->slices.size()),
                   statistics_of(loaded.value)};
  return loaded;
}

InspectedName inspect_name(const std::string& name, Opened& first, Opened* second) {
  InspectedName result{name, {}, {}, {}};
  const auto a = load(first.tensors, name);
  const auto b = second == nullptr ? std::optional<Loaded>{} : load(second->tensors, name);
  if (a) result.first = a->tensor;
  if (b) result.second = b->tensor;
  if (a && b && a->tensor.shape == b->tensor.shape) {
    result.difference = difference_of(a->value, b->value);
  }
  return result;
}

std::vector<std::string> all_names(const Opened& first, const Opened* second) {
  std::vector<std::string> names = first.tensors.names();
  if (second != nullptr) {
    const std::vector<std::string> more = second->tensors.names();
    names.insert(names.end(), more.begin(), more.end());
  }
  std::sort(names.begin(), names.end(), natural_less);
  names.erase(std::unique(names.begin(), names.end()), names.end());
  // Adapters are what a checkpoint is about; their names begin after those of the moments.
  std::stable_partition(names.begin(), names.end(),
                        [](const std::string& name) { return name.starts_with("adapter/"); });
  return names;
}

}  // namespace

TensorName parse_tensor_name(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == std::string::npos) return {"", "", name};
  TensorName parsed{name.substr(0, slash), "", name.substr(slash + 1)};
  const std::string& rest = parsed.part;
  const size_t layer_end = rest.starts_with("layers.") ? rest.find('.', 7) : std::string::npos;
  if (layer_end == std::string::npos) return parsed;
  for (const char* part : {".lora_A", ".lora_B", ".router.weight", ".router.bias"}) {
    if (!rest.ends_with(part)) continue;
    const size_t part_begin = rest.size() - std::string_view(part).size();
    if (part_begin <= layer_end) continue;
    return {parsed.kind, rest.substr(layer_end + 1, part_begin - layer_end - 1),
            rest.substr(part_begin + 1)};
  }
  return parsed;
}

std::filesystem::path step_to_inspect(FileSystem& files, const std::filesystem::path& path) {
  const CheckpointListing listing = list_checkpoints(files, path);
  if (listing.is_one_step()) return listing.steps.front();
  for (const std::filesystem::path& folder : listing.steps) {
    const std::vector<Damage> damages = find_damages(files, folder);
    if (damages.empty()) return folder;
    spdlog::warn("passed over: {}", damage_text(folder, damages.front()));
  }
  throw CheckpointError(
      fmt::format("{}: none of the {} checkpoints is whole; `molora verify` names every damage",
                  listing.root.string(), listing.steps.size()));
}

InspectReport make_inspect_report(FileSystem& files, const std::filesystem::path& first,
                                  const std::filesystem::path& second) {
  Opened a = open_step(files, first);
  std::optional<Opened> b;
  if (!second.empty()) b.emplace(open_step(files, second));
  Opened* other = b ? &*b : nullptr;
  InspectReport report;
  for (const std::string& name : all_names(a, other)) {
    report.tensors.push_back(inspect_name(name, a, other));
  }
  report.first = std::move(a.step);
  if (b) report.second = std::move(b->step);
  return report;
}

std::vector<RouterShare> router_shares(const CheckpointManifest& manifest) {
  std::vector<RouterShare> all;
  for (const RouterLoad& load : manifest.router_loads()) {
    RouterShare share{load.linear()};
    for (const int64_t tokens : load.tokens()) share.tokens += tokens;
    double entropy = 0;
    for (int e = 0; e < load.tokens_size(); ++e) {
      const double part = share.tokens == 0 ? 0.0
                                            : static_cast<double>(load.tokens(e)) /
                                                  static_cast<double>(share.tokens);
      share.shares.push_back(part);
      if (part > 0) entropy -= part * std::log(part);
      if (load.tokens(e) > load.tokens(static_cast<int>(share.most))) share.most = e;
      if (load.tokens(e) < load.tokens(static_cast<int>(share.least))) share.least = e;
    }
    if (load.tokens_size() > 1) share.entropy = entropy / std::log(load.tokens_size());
    all.push_back(std::move(share));
  }
  std::sort(all.begin(), all.end(), [](const RouterShare& a, const RouterShare& b) {
    return natural_less(a.linear, b.linear);
  });
  return all;
}

}  // namespace molora
