// What lies where in the folder of a run (output_dir).
//
//   config.yaml                 the resolved configuration of the latest start
//   metrics.jsonl               one line per step and evaluation
//   tensorboard/                the same for TensorBoard, when train.tensorboard asks for it
//   results.txt                 the table of the last evaluation
//   traces/step-3.json          what all ranks did in a step of train.trace_steps
//   checkpoints/step-00000100/  committed checkpoints (checkpoint/step_folder.h)
//   cache/                      tokenized data
//   lock                        held by rank 0 of the run that writes here
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "run_config.pb.h"

namespace molora {

class RunFolder {
 public:
  explicit RunFolder(std::filesystem::path root) : root_(std::move(root)) {}

  const std::filesystem::path& root() const { return root_; }
  std::filesystem::path config() const { return root_ / "config.yaml"; }
  std::filesystem::path metrics() const { return root_ / "metrics.jsonl"; }
  std::filesystem::path tensorboard() const { return root_ / "tensorboard"; }
  std::filesystem::path results() const { return root_ / "results.txt"; }
  std::filesystem::path trace(int64_t step) const {
    return root_ / "traces" / ("step-" + std::to_string(step) + ".json");
  }
  std::filesystem::path lock() const { return root_ / "lock"; }
  std::filesystem::path checkpoints() const { return root_ / "checkpoints"; }
  std::filesystem::path cache(const DataConfig& config) const {
    return config.cache_dir().empty() ? root_ / "cache" : std::filesystem::path(config.cache_dir());
  }

 private:
  std::filesystem::path root_;
};

}  // namespace molora
