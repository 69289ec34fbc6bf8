// `molora inspect --json`: the numbers of the tables, for machines.
#include <cmath>

#include "config/config_difference.h"
#include "config/resolved_yaml.h"
#include "worker/inspect_report.h"
#include "worker/progress_changes.h"

namespace molora {

namespace {

using nlohmann::json;

json number(double value) { return std::isfinite(value) ? json(value) : json(); }

json progress_json(const Progress& progress) {
  json result = {{"step", progress.step()},
                 {"optimizer_updates", progress.optimizer_updates()},
                 {"epoch", progress.epoch()},
                 {"next_row", progress.next_row()},
                 {"samples_seen", progress.samples_seen()},
                 {"tokens_seen", progress.tokens_seen()},
                 {"supervised_seen", progress.supervised_seen()},
                 {"skipped_steps", progress.skipped_steps()}};
  if (progress.has_best_eval_loss()) {
    result["best_eval_loss"] = number(progress.best_eval_loss());
    result["best_eval_step"] = progress.best_eval_step();
  }
  return result;
}

json layout_json(const CheckpointManifest& manifest) {
  if (!manifest.has_layout()) return {{"ranks", manifest.world_size()}};
  const LayoutRecord& layout = manifest.layout();
  return {{"ranks", layout.ranks()},
          {"data_parallel", layout.data_parallel()},
          {"tensor_parallel", layout.tensor_parallel()},
          {"expert_parallel", layout.expert_parallel()},
          {"exchange", layout.exchange()},
          {"expert_compute", layout.expert_compute()}};
}

json files_json(const CheckpointManifest& manifest) {
  json files = json::array();
  for (const FileRecord& file : manifest.files()) {
    files.push_back({{"name", file.name()}, {"bytes", file.bytes()}, {"sha256", file.sha256()}});
  }
  return files;
}

json routers_json(const CheckpointManifest& manifest) {
  json routers = json::array();
  for (const RouterShare& share : router_shares(manifest)) {
    routers.push_back({{"linear", share.linear},
                       {"tokens", share.tokens},
                       {"shares", share.shares},
                       {"most", share.most},
                       {"least", share.least},
                       {"entropy", share.entropy}});
  }
  return routers;
}

json step_json(const InspectedStep& step) {
  const CheckpointManifest& manifest = step.manifest;
  return {{"folder", step.folder.string()},
          {"format", manifest.format_version()},
          {"reason", manifest.reason()},
          {"progress", progress_json(manifest.progress())},
          {"layout", layout_json(manifest)},
          {"base_fingerprint", manifest.base_fingerprint()},
          {"data_fingerprint", manifest.data_fingerprint()},
          {"files", files_json(manifest)},
          {"routers", routers_json(manifest)},
          {"config_yaml", resolved_yaml(manifest.config())}};
}

json tensor_json(const InspectedTensor& tensor) {
  return {{"dtype", dtype_name(tensor.dtype)},
          {"shape", tensor.shape},
          {"slices", tensor.num_slices},
          {"norm", tensor.statistics.norm},
          {"max_abs", tensor.statistics.max_abs},
          {"zeros", tensor.statistics.zeros},
          {"nonfinite", tensor.statistics.nonfinite}};
}

json name_json(const InspectedName& tensor) {
  json result = json::object();
  if (tensor.first) result["first"] = tensor_json(*tensor.first);
  if (tensor.second) result["second"] = tensor_json(*tensor.second);
  if (tensor.difference) {
    result["difference"] = {{"relative", number(tensor.difference->relative())},
                            {"max_abs", number(tensor.difference->max_abs)},
                            {"is_equal", tensor.difference->is_equal}};
  }
  return result;
}

}  // namespace

json inspect_json(const InspectReport& report) {
  json result = {{"first", step_json(report.first)}, {"tensors", json::object()}};
  for (const InspectedName& tensor : report.tensors) {
    result["tensors"][tensor.name] = name_json(tensor);
  }
  if (!report.second) return result;
  const CheckpointManifest& a = report.first.manifest;
  const CheckpointManifest& b = report.second->manifest;
  result["second"] = step_json(*report.second);
  result["changed"] = {{"progress", progress_changes(a.progress(), b.progress())},
                       {"config", config_difference(a.config(), b.config())}};
  return result;
}

}  // namespace molora
