#include "worker/score_text.h"

#include <algorithm>
#include <string_view>
#include <vector>

#include <fmt/format.h>

namespace molora {

namespace {

constexpr double kLevel = 0.05;

using Row = std::vector<std::string>;

// Columns as wide as their widest cell; those of `left` to the left, the others to the right. Lines
// under the first row and, with `has_total`, above the last.
std::string layout(const std::vector<Row>& rows, const std::vector<size_t>& left, bool has_total) {
  std::vector<size_t> widths(rows.front().size(), 0);
  for (const Row& row : rows) {
    for (size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], row[c].size());
  }
  size_t width = 2 * (widths.size() - 1);
  for (const size_t column : widths) width += column;
  std::string text;
  for (size_t r = 0; r < rows.size(); ++r) {
    std::string line;
    for (size_t c = 0; c < rows[r].size(); ++c) {
      const bool is_left = std::find(left.begin(), left.end(), c) != left.end();
      line += c == 0 ? "" : "  ";
      line += is_left ? fmt::format("{:<{}}", rows[r][c], widths[c])
                      : fmt::format("{:>{}}", rows[r][c], widths[c]);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + '\n';
    if (r == 0 || (has_total && r + 2 == rows.size())) text += std::string(width, '-') + '\n';
  }
  return text;
}

std::string percent(double share) { return fmt::format("{:.1f}%", 100.0 * share); }

std::string p_text(double p) { return p < 0.001 ? "<0.001" : fmt::format("{:.3f}", p); }

Row score_row(const ScoredTask& task, std::string_view metric) {
  return {task.task,
          std::to_string(task.items),
          std::string(metric),
          percent(task.score),
          fmt::format("[{:.1f}, {:.1f}]", 100.0 * task.interval.low, 100.0 * task.interval.high),
          std::to_string(task.unread)};
}

// A difference is written in the unit of the scores: percentage points, or nats.
Row difference_row(const ScoreDifference& row, std::string_view metric) {
  const bool is_loss = row.metric == Metric::kLoss;
  const double unit = is_loss ? 1.0 : 100.0;
  const int digits = is_loss ? 4 : 1;
  const auto number = [&](double value) {
    return is_loss ? fmt::format("{:.4f}", value) : percent(value);
  };
  const auto change = [&](double value) { return fmt::format("{:+.{}f}", unit * value, digits); };
  std::string verdict = "not significant";
  if (row.is_significant(kLevel)) verdict = row.is_better() ? "B is better" : "A is better";
  return {row.task,
          std::to_string(row.items),
          std::string(metric),
          number(row.first),
          number(row.second),
          change(row.difference()),
          fmt::format("[{}, {}]", change(row.interval.low), change(row.interval.high)),
          p_text(row.p),
          p_text(row.adjusted_p),
          verdict};
}

std::string difference_table(const DifferenceSheet& sheet) {
  std::vector<Row> rows = {
      {"task", "items", "metric", "A", "B", "B - A", "95% interval", "p", "Holm", "verdict"}};
  for (const ScoreDifference& row : sheet.tasks) {
    rows.push_back(difference_row(row, metric_name(row.metric)));
  }
  if (sheet.overall) {
    const std::string_view name = sheet.overall->metric == Metric::kLoss ? "loss" : "mean";
    rows.push_back(difference_row(*sheet.overall, name));
    rows.back()[8] = "-";
  }
  return layout(rows, {0, 2, 9}, sheet.overall.has_value());
}

std::string summary(const DifferenceSheet& sheet, std::string_view what) {
  std::string better;
  std::string worse;
  for (const ScoreDifference& row : sheet.tasks) {
    if (!row.is_significant(kLevel)) continue;
    std::string& list = row.is_better() ? better : worse;
    list += (list.empty() ? "" : ", ") + row.task;
  }
  if (better.empty() && worse.empty()) {
    return fmt::format("{}: in no task do A and B differ by more than chance explains.\n", what);
  }
  std::string text = fmt::format("{}:", what);
  if (!better.empty()) text += fmt::format(" B is better in {}.", better);
  if (!worse.empty()) text += fmt::format(" A is better in {}.", worse);
  return text + "\n";
}

constexpr char kComparisonLegend[] =
    "interval: 95%, paired bootstrap, 10,000 resamples of the items. p: exact McNemar test for "
    "accuracy, else\npaired permutation test with 10,000 rounds. Holm: p adjusted for all tasks of "
    "its table; below 0.05 a\ndifference is called significant. Not significant is not the same as "
    "equal: the interval tells what is\npossible. overall: mean of the tasks, each counting the "
    "same.\n";

nlohmann::json rows_json(const DifferenceSheet& sheet) {
  nlohmann::json list = nlohmann::json::array();
  const auto add = [&list](const ScoreDifference& row) {
    list.push_back({{"task", row.task},
                    {"metric", metric_name(row.metric)},
                    {"items", row.items},
                    {"first", row.first},
                    {"second", row.second},
                    {"difference", row.difference()},
                    {"low", row.interval.low},
                    {"high", row.interval.high},
                    {"test", row.test == PairedTest::kMcNemar ? "mcnemar" : "permutation"},
                    {"p", row.p},
                    {"adjusted_p", row.adjusted_p},
                    {"significant", row.is_significant(kLevel)}});
  };
  for (const ScoreDifference& row : sheet.tasks) add(row);
  if (sheet.overall) add(*sheet.overall);
  return list;
}

}  // namespace

std::string scores_table(const ScoreSheet& sheet) {
  std::vector<Row> rows = {{"answers", "items", "metric", "score", "95% interval", "not read"}};
  for (const ScoredTask& task : sheet.tasks) {
    rows.push_back(score_row(task, metric_name(task.metric)));
  }
  if (sheet.overall) rows.push_back(score_row(*sheet.overall, "mean"));
  return layout(rows, {0, 2}, sheet.overall.has_value()) +
         "interval: bootstrap over the items, 10,000 resamples; too narrow for few items, or where "
         "all are alike.\nnot read: answers without the form that was asked for. overall: mean of "
         "the tasks, each counting the same.\n";
}

std::string comparison_text(const Comparison& comparison, const std::string& first,
                            const std::string& second) {
  std::string text = fmt::format("A: {}\nB: {}\n", first, second);
  if (!comparison.answers.tasks.empty()) {
    text += "\nanswers (more is better; differences in percentage points)\n" +
            difference_table(comparison.answers);
  }
  if (!comparison.losses.tasks.empty()) {
    text +=
        "\nloss, nats per answer token (less is better)\n" + difference_table(comparison.losses);
  } else {
    text +=
        "\nloss: A and B cut the answers into different tokens; their losses cannot be "
        "compared.\n";
  }
  text += "\n";
  if (!comparison.answers.tasks.empty()) text += summary(comparison.answers, "Answers");
  if (!comparison.losses.tasks.empty()) text += summary(comparison.losses, "Loss");
  return text + kComparisonLegend;
}

nlohmann::json comparison_json(const Comparison& comparison, const std::string& first,
                               const std::string& second) {
  return {{"first", first},
          {"second", second},
          {"answers", rows_json(comparison.answers)},
          {"losses", rows_json(comparison.losses)}};
}

}  // namespace molora
