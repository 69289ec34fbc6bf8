// The tables of `molora inspect` about one checkpoint.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <tuple>

#include <fmt/format.h>

#include "base/unit_text.h"
#include "config/resolved_yaml.h"
#include "worker/inspect_report.h"

namespace molora {

namespace {

constexpr int kMostFiles = 16;

std::string line_of(std::string_view label, const std::string& text) {
  return fmt::format("  {:<10}{}\n", label, text);
}

std::string progress_text(const Progress& progress) {
  return fmt::format("{} steps ({} skipped), {} updates; next: pass {}, row {}",
                     grouped_digits(progress.step()), grouped_digits(progress.skipped_steps()),
                     grouped_digits(progress.optimizer_updates()), progress.epoch() + 1,
                     grouped_digits(progress.next_row()));
}

std::string seen_text(const Progress& progress) {
  return fmt::format(
      "{} samples, {} tokens, {} of them in the loss", grouped_digits(progress.samples_seen()),
      grouped_digits(progress.tokens_seen()), grouped_digits(progress.supervised_seen()));
}

std::string ranks_text(int32_t ranks) {
  return fmt::format("{} rank{}", ranks, ranks == 1 ? "" : "s");
}

std::string layout_text(const CheckpointManifest& manifest) {
  if (!manifest.has_layout()) {
    return fmt::format("written whole by one of {}", ranks_text(manifest.world_size()));
  }
  const LayoutRecord& layout = manifest.layout();
  std::string text =
      fmt::format("{}: dp {}, tp {}, ep {}", ranks_text(layout.ranks()), layout.data_parallel(),
                  layout.tensor_parallel(), layout.expert_parallel());
  if (!layout.exchange().empty()) text += "; " + layout.exchange();
  return text;
}

std::string files_text(const CheckpointManifest& manifest) {
  uint64_t bytes = 0;
  for (const FileRecord& file : manifest.files()) bytes += file.bytes();
  std::string text = line_of("files", fmt::format("{}, {}", manifest.files_size(),
                                                  bytes_text(static_cast<double>(bytes))));
  for (int i = 0; i < std::min(manifest.files_size(), kMostFiles); ++i) {
    const FileRecord& file = manifest.files(i);
    text += line_of("", fmt::format("{:<32}{:>10}", file.name(),
                                    bytes_text(static_cast<double>(file.bytes()))));
  }
  if (manifest.files_size() > kMostFiles) {
    text += line_of("", fmt::format("... and {} more", manifest.files_size() - kMostFiles));
  }
  return text;
}

std::string step_text(const InspectedStep& step) {
  const CheckpointManifest& manifest = step.manifest;
  const Progress& progress = manifest.progress();
  std::string text = step.folder.string() + "\n";
  const std::string reason = manifest.reason().empty() ? "not told" : manifest.reason();
  text += line_of("saved", fmt::format("after step {}, why: {}; format {}", progress.step(), reason,
                                       manifest.format_version()));
  text += line_of("progress", progress_text(progress));
  text += line_of("seen", seen_text(progress));
  if (progress.has_best_eval_loss()) {
    text += line_of("best", fmt::format("held-out loss {:.4f} after step {}",
                                        progress.best_eval_loss(), progress.best_eval_step()));
  }
  text += line_of("layout", layout_text(manifest));
  const std::string& ways = manifest.layout().expert_compute();
  if (!ways.empty()) text += line_of("experts", ways);
  text += line_of("base", manifest.base_fingerprint());
  text += line_of("data", manifest.data_fingerprint());
  return text + files_text(manifest);
}

// All layers of one part of one linear, with its moments.
struct PartRow {
  InspectedTensor first_seen;
  int64_t count = 0;
  TensorStatistics adapter;
  TensorStatistics first_moment;
  TensorStatistics second_moment;
  bool has_moments = false;
};

struct PartKey {
  std::string linear;
  std::string part;
  bool operator<(const PartKey& other) const {
    return std::tie(linear, part) < std::tie(other.linear, other.part);
  }
};

std::map<PartKey, PartRow> part_rows(const InspectReport& report) {
  std::map<PartKey, PartRow> rows;
  for (const InspectedName& tensor : report.tensors) {
    if (!tensor.first) continue;
    const TensorName name = parse_tensor_name(tensor.name);
    PartRow& row = rows[{name.linear, name.part}];
    const TensorStatistics& statistics = tensor.first->statistics;
    if (name.kind == "adamw.first") {
      row.first_moment = joined(row.first_moment, statistics);
      row.has_moments = true;
    } else if (name.kind == "adamw.second") {
      row.second_moment = joined(row.second_moment, statistics);
      row.has_moments = true;
    } else {
      if (row.count++ == 0) row.first_seen = *tensor.first;
      row.adapter = joined(row.adapter, statistics);
    }
  }
  return rows;
}

std::string zeros_text(const TensorStatistics& of) {
  if (of.elements == 0) return "-";
  return fmt::format("{:.1f}%",
                     100.0 * static_cast<double>(of.zeros) / static_cast<double>(of.elements));
}

std::string nonfinite_text(const PartRow& row) {
  const int64_t count =
      row.adapter.nonfinite + row.first_moment.nonfinite + row.second_moment.nonfinite;
  return count == 0 ? "" : fmt::format("  NOT FINITE: {}", grouped_digits(count));
}

// "80 tensors, 125,952 numbers (F32)" of the adapters.
std::string adapters_text(const InspectReport& report) {
  int64_t tensors = 0;
  int64_t numbers = 0;
  std::set<std::string_view> dtypes;
  for (const InspectedName& tensor : report.tensors) {
    if (!tensor.first || !tensor.name.starts_with("adapter/")) continue;
    ++tensors;
    numbers += tensor.first->statistics.elements;
    dtypes.insert(dtype_name(tensor.first->dtype));
  }
  return fmt::format("{} tensors, {} numbers ({})", grouped_digits(tensors),
                     grouped_digits(numbers), fmt::join(dtypes, ", "));
}

std::string parts_table(const InspectReport& report) {
  const std::map<PartKey, PartRow> rows = part_rows(report);
  std::string text = fmt::format(
      "\nadapters: {}, over all layers; norms are roots of sums of squares\n"
      "  {:<17}{:<14}{:<15}{:>6}{:>10}{:>9}{:>7}{:>9}{:>9}\n"
      "  {:<17}{:<14}{:<15}{:>6}{:>10}{:>9}{:>7}{:>9}{:>9}\n",
      adapters_text(report), "linear", "tensor", "shape", "layers", "norm", "max |x|", "zeros",
      "first", "second", "", "", "", "", "", "", "", "moment", "moment");
  for (const auto& [key, row] : rows) {
    const auto moment = [has_moments = row.has_moments](const TensorStatistics& of) {
      return has_moments ? fmt::format("{:.3g}", of.norm) : std::string("-");
    };
    text += fmt::format("  {:<17}{:<14}{:<15}{:>6}{:>10.4g}{:>9.2g}{:>7}{:>9}{:>9}{}\n", key.linear,
                        key.part, shape_text(row.first_seen.shape), row.count, row.adapter.norm,
                        row.adapter.max_abs, zeros_text(row.adapter), moment(row.first_moment),
                        moment(row.second_moment), nonfinite_text(row));
  }
  return text;
}

std::string tensors_table(const InspectReport& report) {
  std::string text = fmt::format("\n  {:<54}{:>4} {:<15}{:>10}{:>10}{:>7}\n", "tensor", "", "shape",
                                 "norm", "max |x|", "zeros");
  for (const InspectedName& tensor : report.tensors) {
    if (!tensor.first) continue;
    const TensorStatistics& of = tensor.first->statistics;
    text += fmt::format(
        "  {:<54}{:>4} {:<15}{:>10.4g}{:>10.3g}{:>7}{}\n", tensor.name,
        dtype_name(tensor.first->dtype), shape_text(tensor.first->shape), of.norm, of.max_abs,
        zeros_text(of),
        of.nonfinite == 0 ? "" : fmt::format("  NOT FINITE: {}", grouped_digits(of.nonfinite)));
  }
  return text;
}

// As many of the shares as a line holds, in per cent.
std::string shares_text(const std::vector<double>& shares) {
  constexpr size_t kMost = 8;
  std::string text;
  for (size_t e = 0; e < std::min(shares.size(), kMost); ++e) {
    text += fmt::format("{:>4.0f}", 100 * shares[e]);
  }
  return shares.size() > kMost ? text + " ..." : text;
}

std::string routers_table(const CheckpointManifest& manifest) {
  const std::vector<RouterShare> shares = router_shares(manifest);
  if (shares.empty()) return {};
  std::string text = fmt::format(
      "\nrouters: shares of the experts in the last step (entropy 1: even)\n"
      "  {:<25}{:>8}{:>12}{:>12}  per cent by expert\n",
      "router", "entropy", "most", "least");
  for (const RouterShare& share : shares) {
    const auto named = [&](int64_t expert) {
      if (share.shares.empty()) return std::string("-");
      return fmt::format("{}: {:.1f}%", expert, 100 * share.shares[static_cast<size_t>(expert)]);
    };
    text += fmt::format("  {:<25}{:>8.3f}{:>12}{:>12} {}\n", share.linear, share.entropy,
                        named(share.most), named(share.least), shares_text(share.shares));
  }
  return text;
}

}  // namespace

std::string inspect_text(const InspectReport& report, const InspectArguments& arguments) {
  std::string text = step_text(report.first);
  if (report.second) {
    text += step_text(*report.second);
    return text + inspect_difference_text(report, arguments);
  }
  text += parts_table(report);
  text += routers_table(report.first.manifest);
  if (arguments.lists_tensors) text += tensors_table(report);
  if (arguments.shows_config) {
    text += "\nconfiguration\n" + resolved_yaml(report.first.manifest.config());
  }
  return text;
}

}  // namespace molora
