// Held-out results per task, before and after training, as a table for people.
#pragma once

#include <string>
#include <vector>

#include "checkpoint.pb.h"

namespace molora {

// One row per task that occurs in either list (in the order of `after`, then `before`), and a last
// row over all tasks. Columns: held-out loss (nats per answer token), token accuracy, and for
// multiple-choice tasks the share of right answers with its 95 % Wilson interval; below the table,
// the tasks whose accuracy is not told apart from guessing are named. `before` may be empty.
std::string results_table(const std::vector<TaskResult>& before,
                          const std::vector<TaskResult>& after);

// One evaluation alone: loss, token accuracy, accuracy on questions by likelihood and, when they
// were answered that way, by generation, each with its interval and the same note on chance.
std::string results_table(const std::vector<TaskResult>& results);

// Mean negative log-likelihood per supervised token over all tasks; NaN when there is none.
double overall_loss(const std::vector<TaskResult>& results);

}  // namespace molora
