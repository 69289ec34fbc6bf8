// How the answers to a task become one number.
#pragma once

#include <optional>
#include <string_view>

namespace molora {

enum class Metric {
  kAccuracy,    // share of the items whose set of choices is exactly the right one
  kMicroF1,     // over sets of items: hits, predictions and references summed over all answers
  kMacroF1,     // mean of the labels' F1, each label counting the same
  kWeightedF1,  // mean of the labels' F1, each as often as it is right
  kRougeL,      // mean ROUGE-L F1 of texts
  kLoss,        // nats per answer token; the only one of which less is better
};

// "accuracy", "micro-F1", ..: in tables and files.
std::string_view metric_name(Metric metric);
std::optional<Metric> metric_named(std::string_view name);

}  // namespace molora
