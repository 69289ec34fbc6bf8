// Everything that `molora inspect` says: what is in a checkpoint, or in two, and how they differ.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint.pb.h"
#include "checkpoint/tensor_statistics.h"
#include "io/dtype.h"
#include "io/file_system.h"
#include "io/safetensors.h"
#include "worker/commands.h"

namespace molora {

// "adapter/layers.3.mlp.up_proj.router.bias" is the part router.bias of the linear mlp.up_proj.
struct TensorName {
  std::string kind;    // "adapter", "adamw.first", "adamw.second"
  std::string linear;  // without its layer; "" when the name is of another form
  std::string part;    // "lora_A", "lora_B", "router.weight", "router.bias"; or all behind the kind
};
TensorName parse_tensor_name(const std::string& name);

struct InspectedStep {
  std::filesystem::path folder;
  CheckpointManifest manifest;
};

// A tensor as one checkpoint has it.
struct InspectedTensor {
  DType dtype = DType::kF32;
  Shape shape;
  int64_t num_slices = 0;
  TensorStatistics statistics;
};

// A tensor of the first checkpoint, of the second, or of both.
struct InspectedName {
  std::string name;
  std::optional<InspectedTensor> first;
  std::optional<InspectedTensor> second;
  // When both have it with the same shape.
  std::optional<TensorDifference> difference;
};

struct InspectReport {
  InspectedStep first;
  std::optional<InspectedStep> second;
  std::vector<InspectedName> tensors;  // in natural order, kind by kind
};

// The step folder that a path of a command means: itself, or the newest whole one of a run; tells
// of damaged ones that it passes over through the log. Throws: CheckpointError.
std::filesystem::path step_to_inspect(FileSystem& files, const std::filesystem::path& path);

// Reads every tensor, one at a time (one of each with two). `second`: empty for none.
// Throws: CheckpointError with file, tensor and byte range when something cannot be read.
InspectReport make_inspect_report(FileSystem& files, const std::filesystem::path& first,
                                  const std::filesystem::path& second);

// How the tokens of a step were shared out over the experts of one router.
struct RouterShare {
  std::string linear;
  int64_t tokens = 0;          // choices in all: tokens times experts per token
  std::vector<double> shares;  // by expert; they sum to 1, or to 0 without tokens
  int64_t most = 0;            // the expert with the largest share, the lowest of equals
  int64_t least = 0;
  double entropy =
      0;  // of the shares, as a part of the largest possible: 1 is even, 0 is one expert
};
std::vector<RouterShare> router_shares(const CheckpointManifest& manifest);

// Tables for people, lines of at most 100 characters. `arguments`: what to show.
std::string inspect_text(const InspectReport& report, const InspectArguments& arguments);

// The part of it about what is different in two.
std::string inspect_difference_text(const InspectReport& report, const InspectArguments& arguments);

// All numbers; what is not finite is null.
nlohmann::json inspect_json(const InspectReport& report);

}  // namespace molora
