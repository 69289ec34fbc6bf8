// Held-out results as JSON, for metrics.jsonl and for `molora eval --json`.
#pragma once

#include <vector>

#include <nlohmann/json.hpp>

#include "checkpoint.pb.h"

namespace molora {

// A list with one object per task: task, samples, loss (nats per answer token), supervised,
// token_accuracy; for tasks with questions also questions, correct, accuracy, chance, and, when the
// questions were answered by generation, generated, correct_generated and unnamed_generated.
nlohmann::json task_results_json(const std::vector<TaskResult>& results);

}  // namespace molora
