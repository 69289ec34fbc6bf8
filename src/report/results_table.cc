#include "report/results_table.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "report/wilson.h"

namespace molora {

namespace {

constexpr char kAllTasks[] = "all";
constexpr char kLegend[] =
    "loss: mean negative log-likelihood per answer token, in nats. tokens: answer tokens that the "
    "model ranks first.\nchoice: questions whose right option has the largest likelihood, with the "
    "95% interval; chance: of random answers.\n";

const TaskResult* find_task(const std::vector<TaskResult>& results, const std::string& task) {
  const auto found = std::find_if(results.begin(), results.end(),
                                  [&](const TaskResult& result) { return result.task() == task; });
  return found == results.end() ? nullptr : &*found;
}

TaskResult sum_of(const std::vector<TaskResult>& results) {
  TaskResult sum;
  sum.set_task(kAllTasks);
  for (const TaskResult& result : results) {
    sum.set_samples(sum.samples() + result.samples());
    sum.set_loss_sum(sum.loss_sum() + result.loss_sum());
    sum.set_supervised(sum.supervised() + result.supervised());
    sum.set_correct_tokens(sum.correct_tokens() + result.correct_tokens());
    sum.set_questions(sum.questions() + result.questions());
    sum.set_correct_questions(sum.correct_questions() + result.correct_questions());
    sum.set_chance_questions(sum.chance_questions() + result.chance_questions());
    if (!result.has_generated()) continue;
    sum.set_generated(sum.generated() + result.generated());
    sum.set_correct_generated(sum.correct_generated() + result.correct_generated());
    sum.set_unnamed_generated(sum.unnamed_generated() + result.unnamed_generated());
  }
  return sum;
}

std::string loss_of(const TaskResult* result) {
  if (result == nullptr || result->supervised() == 0) return "-";
  return fmt::format("{:.4f}", result->loss_sum() / static_cast<double>(result->supervised()));
}

std::string token_accuracy_of(const TaskResult* result) {
  if (result == nullptr || result->supervised() == 0) return "-";
  return fmt::format("{:.1f}%", 100.0 * static_cast<double>(result->correct_tokens()) /
                                    static_cast<double>(result->supervised()));
}

// "25.0% [15, 39]"
std::string share_with_interval(int64_t correct, int64_t questions) {
  if (questions == 0) return "-";
  const Interval ci = wilson_interval(correct, questions);
  return fmt::format("{:.1f}% [{:.0f}, {:.0f}]",
                     100.0 * static_cast<double>(correct) / static_cast<double>(questions),
                     100.0 * ci.low, 100.0 * ci.high);
}

std::string choices_of(const TaskResult* result) {
  if (result == nullptr) return "-";
  return share_with_interval(result->correct_questions(), result->questions());
}

double chance_of(const TaskResult& result) {
  return result.chance_questions() / static_cast<double>(result.questions());
}

std::string chance_text(const TaskResult& result) {
  return result.questions() == 0 ? "-" : fmt::format("{:.1f}%", 100.0 * chance_of(result));
}

using Row = std::vector<std::string>;

Row table_row(const std::string& task, const TaskResult* before, const TaskResult* after) {
  const TaskResult* any = after != nullptr ? after : before;
  return {task,
          std::to_string(any == nullptr ? 0 : any->samples()),
          loss_of(before),
          loss_of(after),
          token_accuracy_of(before),
          token_accuracy_of(after),
          choices_of(before),
          choices_of(after),
          any == nullptr ? "-" : chance_text(*any)};
}

// Columns as wide as their widest cell; the first to the left, the others to the right.
std::string layout(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line = fmt::format("{:<{}}", rows[r][0], widths[0]);
    for (size_t c = 1; c < rows[r].size(); ++c) {
      line += fmt::format("  {:>{}}", rows[r][c], widths[c]);
    }
    text += line + '\n';
    if (r == 0 || r + 2 == rows.size()) text += std::string(line.size(), '-') + '\n';
  }
  return text;
}

std::string chance_note(const std::vector<TaskResult>& after) {
  std::string tasks;
  for (const TaskResult& result : after) {
    if (result.questions() == 0) continue;
    const Interval ci = wilson_interval(result.correct_questions(), result.questions());
    if (!ci.contains(chance_of(result))) continue;
    tasks += (tasks.empty() ? "" : ", ") + result.task();
  }
  if (tasks.empty()) return {};
  return fmt::format(
      "Not told apart from guessing (the interval holds the chance level): {}. A small model may "
      "learn the form of an exam answer, and so lower its loss, without knowing the answer.\n",
      tasks);
}

}  // namespace

std::string results_table(const std::vector<TaskResult>& before,
                          const std::vector<TaskResult>& after) {
  std::vector<Row> rows = {{"task", "samples", "loss before", "loss after", "tokens before",
                            "after", "choice before", "after", "chance"}};
  for (const TaskResult& result : after) {
    rows.push_back(table_row(result.task(), find_task(before, result.task()), &result));
  }
  for (const TaskResult& result : before) {
    if (find_task(after, result.task()) != nullptr) continue;
    rows.push_back(table_row(result.task(), &result, nullptr));
  }
  const TaskResult all_before = sum_of(before);
  const TaskResult all_after = sum_of(after);
  rows.push_back(table_row(kAllTasks, before.empty() ? nullptr : &all_before, &all_after));
  return layout(rows) + kLegend + chance_note(after);
}

std::string results_table(const std::vector<TaskResult>& results) {
  const TaskResult all = sum_of(results);
  const bool has_generated = all.has_generated();
  std::vector<Row> rows = {{"task", "samples", "loss", "tokens", "choice", "chance"}};
  if (has_generated) {
    rows.front().push_back("generated");
    rows.front().push_back("named nothing");
  }
  const auto add = [&](const TaskResult& result) {
    rows.push_back({result.task(), std::to_string(result.samples()), loss_of(&result),
                    token_accuracy_of(&result), choices_of(&result), chance_text(result)});
    if (!has_generated) return;
    rows.back().push_back(share_with_interval(result.correct_generated(), result.generated()));
    rows.back().push_back(result.generated() == 0 ? "-"
                                                  : std::to_string(result.unnamed_generated()));
  };
  for (const TaskResult& result : results) add(result);
  add(all);
  return layout(rows) + kLegend + chance_note(results);
}

double overall_loss(const std::vector<TaskResult>& results) {
  const TaskResult sum = sum_of(results);
  if (sum.supervised() == 0) return std::numeric_limits<double>::quiet_NaN();
  return sum.loss_sum() / static_cast<double>(sum.supervised());
}

}  // namespace molora
