#include "eval/metric.h"

#include <utility>

namespace molora {

namespace {

constexpr std::pair<Metric, std::string_view> kNames[] = {
    {Metric::kAccuracy, "accuracy"}, {Metric::kMicroF1, "micro-F1"},
    {Metric::kMacroF1, "macro-F1"},  {Metric::kWeightedF1, "weighted-F1"},
    {Metric::kRougeL, "ROUGE-L"},    {Metric::kLoss, "loss"}};

}  // namespace

std::string_view metric_name(Metric metric) {
  for (const auto& [known, name] : kNames) {
    if (known == metric) return name;
  }
  return "?";
}

std::optional<Metric> metric_named(std::string_view name) {
  for (const auto& [metric, known] : kNames) {
    if (known == name) return metric;
  }
  return std::nullopt;
}

}  // namespace molora
