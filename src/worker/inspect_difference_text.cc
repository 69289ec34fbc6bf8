// The part of `molora inspect` about what is different in two checkpoints.
#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "config/config_difference.h"
#include "worker/inspect_report.h"
#include "worker/progress_changes.h"

namespace molora {

namespace {

constexpr size_t kMostNames = 20;

std::string list_of(const std::string& heading, const std::vector<std::string>& lines) {
  if (lines.empty()) return {};
  std::string text = "\n" + heading + "\n";
  for (size_t i = 0; i < std::min(lines.size(), kMostNames); ++i) text += "  " + lines[i] + "\n";
  if (lines.size() > kMostNames) {
    text += fmt::format("  ... and {} more (--json FILE has all)\n", lines.size() - kMostNames);
  }
  return text;
}

std::string tensor_text(const InspectedTensor& tensor) {
  return fmt::format("{} {}", dtype_name(tensor.dtype), shape_text(tensor.shape));
}

// Names that cannot be compared: of one side only, and of another shape.
std::string names_text(const InspectReport& report) {
  std::vector<std::string> only_first;
  std::vector<std::string> only_second;
  std::vector<std::string> reshaped;
  for (const InspectedName& tensor : report.tensors) {
    if (tensor.difference) continue;
    if (tensor.first && tensor.second) {
      reshaped.push_back(fmt::format("{}: {} -> {}", tensor.name, tensor_text(*tensor.first),
                                     tensor_text(*tensor.second)));
    } else {
      (tensor.first ? only_first : only_second).push_back(tensor.name);
    }
  }
  return list_of("tensors of the first alone", only_first) +
         list_of("tensors of the second alone", only_second) +
         list_of("tensors of another shape", reshaped);
}

// All layers of one part of one linear.
struct PartRow {
  int64_t count = 0;
  int64_t equal = 0;
  std::map<std::string, TensorDifference> by_kind;
};

std::string relative_text(const PartRow& row, const std::string& kind) {
  const auto found = row.by_kind.find(kind);
  return found == row.by_kind.end() ? "-" : fmt::format("{:.3g}", found->second.relative());
}

std::string parts_table(const InspectReport& report) {
  std::map<std::pair<std::string, std::string>, PartRow> rows;
  for (const InspectedName& tensor : report.tensors) {
    if (!tensor.difference) continue;
    const TensorName name = parse_tensor_name(tensor.name);
    PartRow& row = rows[{name.linear, name.part}];
    TensorDifference& so_far = row.by_kind[name.kind];
    so_far = joined(so_far, *tensor.difference);
    ++row.count;
    if (tensor.difference->is_equal) ++row.equal;
  }
  if (rows.empty()) return {};
  std::string text = fmt::format(
      "\ndifferences over all layers, ||a - b|| / ||b||; equal: bit for bit, moments included\n"
      "  {:<17}{:<14}{:>12}{:>12}{:>12}{:>14}{:>14}\n",
      "linear", "tensor", "equal", "adapter", "max |a-b|", "first moment", "second moment");
  for (const auto& [key, row] : rows) {
    const auto adapter = row.by_kind.find("adapter");
    text += fmt::format(
        "  {:<17}{:<14}{:>12}{:>12}{:>12}{:>14}{:>14}\n", key.first, key.second,
        fmt::format("{}/{}", row.equal, row.count), relative_text(row, "adapter"),
        adapter == row.by_kind.end() ? "-" : fmt::format("{:.3g}", adapter->second.max_abs),
        relative_text(row, "adamw.first"), relative_text(row, "adamw.second"));
  }
  return text;
}

std::string tensors_table(const InspectReport& report) {
  std::string text =
      fmt::format("\n  {:<54}{:>14}{:>12}  equal\n", "tensor", "||a-b||/||b||", "max |a-b|");
  for (const InspectedName& tensor : report.tensors) {
    if (!tensor.difference) continue;
    text +=
        fmt::format("  {:<54}{:>14.3g}{:>12.3g}  {}\n", tensor.name, tensor.difference->relative(),
                    tensor.difference->max_abs, tensor.difference->is_equal ? "yes" : "no");
  }
  return text;
}

std::string summary(const InspectReport& report) {
  int64_t compared = 0;
  int64_t equal = 0;
  for (const InspectedName& tensor : report.tensors) {
    if (!tensor.difference) continue;
    ++compared;
    if (tensor.difference->is_equal) ++equal;
  }
  const auto in_all = static_cast<int64_t>(report.tensors.size());
  if (equal == in_all) {
    return fmt::format("\nall {} tensors are equal bit for bit\n", grouped_digits(in_all));
  }
  return fmt::format("\n{} of {} tensors are equal bit for bit, {} differ, {} cannot be compared\n",
                     grouped_digits(equal), grouped_digits(in_all),
                     grouped_digits(compared - equal), grouped_digits(in_all - compared));
}

}  // namespace

std::string inspect_difference_text(const InspectReport& report,
                                    const InspectArguments& arguments) {
  const CheckpointManifest& a = report.first.manifest;
  const CheckpointManifest& b = report.second->manifest;
  std::string text = list_of("progress", progress_changes(a.progress(), b.progress()));
  const auto config = config_difference(a.config(), b.config());
  if (arguments.shows_config && !config.empty()) {
    text += "\nconfiguration\n";
    for (const std::string& line : config) text += "  " + line + "\n";
  } else {
    text += list_of("configuration", config);
  }
  if (a.base_fingerprint() != b.base_fingerprint()) text += "\nthe base models are different\n";
  if (a.data_fingerprint() != b.data_fingerprint()) text += "\nthe training data are different\n";
  text += names_text(report) + parts_table(report);
  if (arguments.lists_tensors) text += tensors_table(report);
  return text + summary(report);
}

}  // namespace molora
