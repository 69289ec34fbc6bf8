// Scores and comparisons of evaluations, as tables for people and as JSON.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "eval/comparison.h"

namespace molora {

// A row for each task with its metric, score, interval and the answers that could not be read, and
// one for their mean.
std::string scores_table(const ScoreSheet& sheet);

// Who is better in what, and whether that is more than chance. first, second: names of the two.
std::string comparison_text(const Comparison& comparison, const std::string& first,
                            const std::string& second);

// {"first", "second", "answers": [..], "losses": [..]} with one object for each row: task, metric,
// items, first, second, difference, low, high, test, p, adjusted_p, significant. The overall rows
// have the task "overall".
nlohmann::json comparison_json(const Comparison& comparison, const std::string& first,
                               const std::string& second);

}  // namespace molora
