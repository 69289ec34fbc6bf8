#include "report/run_record.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>

#include "report/step_times.h"

namespace molora {

namespace {

using nlohmann::json;

std::string text_of(const json& object, const char* name) {
  const auto found = object.find(name);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// Protobuf's JSON has 64-bit numbers as texts.
int64_t number_of(const json& object, const char* name, int64_t otherwise) {
  const auto found = object.find(name);
  if (found == object.end()) return otherwise;
  if (found->is_number_integer()) return found->get<int64_t>();
  if (!found->is_string()) return otherwise;
  const auto text = found->get<std::string>();
  int64_t number = otherwise;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

// "FAULT_EARLY_EXIT" -> "early exit".
std::string kind_name(const std::string& name) {
  constexpr std::string_view kPrefix = "FAULT_";
  if (name.empty() || name == "FAULT_NONE") return "stopped";
  std::string kind = name.starts_with(kPrefix) ? name.substr(kPrefix.size()) : name;
  for (char& c : kind) {
    if (c == '_') c = ' ';
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return kind;
}

int64_t correct_of(const Evaluation& evaluation) {
  int64_t sum = 0;
  for (const TaskScore& task : evaluation.tasks) sum += task.correct;
  return sum;
}

void add_memory(const RunLog& log, RunTotals& totals) {
  for (const RankReport& report : log.rank_reports()) {
    totals.num_ranks = std::max(totals.num_ranks, static_cast<int64_t>(report.ranks.size()));
    for (const RankPoint& rank : report.ranks) {
      if (!std::isfinite(rank.peak_memory_bytes)) continue;
      totals.peak_memory_bytes = std::isfinite(totals.peak_memory_bytes)
                                     ? std::max(totals.peak_memory_bytes, rank.peak_memory_bytes)
                                     : rank.peak_memory_bytes;
    }
  }
}

}  // namespace

bool read_fault(const std::string& text, FaultNote& fault) {
  const json object = json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!object.is_object() || !object.contains("sentence")) return false;
  fault = {.kind = kind_name(text_of(object, "fault")),
           .sentence = text_of(object, "sentence"),
           .action = text_of(object, "action"),
           .time = text_of(object, "time"),
           .host = text_of(object, "host"),
           .attempt = number_of(object, "attempt", 0),
           .rank = number_of(object, "rank", -1),
           .step = number_of(object, "step", -1),
           .exit_code = number_of(object, "exit_code", 0)};
  return true;
}

std::vector<FaultNote> read_faults(const std::string& lines, int64_t& num_bad_lines) {
  std::vector<FaultNote> faults;
  size_t begin = 0;
  while (begin < lines.size()) {
    const size_t end = std::min(lines.find('\n', begin), lines.size());
    FaultNote fault;
    if (read_fault(lines.substr(begin, end - begin), fault)) {
      faults.push_back(std::move(fault));
    } else if (end > begin) {
      ++num_bad_lines;
    }
    begin = end + 1;
  }
  return faults;
}

const char* state_name(RunState state) {
  switch (state) {
    case RunState::kEmpty:
      return "empty";
    case RunState::kRunning:
      return "running";
    case RunState::kDone:
      return "done";
    case RunState::kEnded:
      return "failed";
    case RunState::kStopped:
      return "stopped";
  }
  return "";
}

RunTotals totals_of(const RunLog& log) {
  RunTotals totals;
  totals.steps = log.last_step();
  totals.num_steps = log.num_steps();
  totals.tokens = log.total_tokens();
  totals.seconds = log.total_seconds();
  totals.num_ranks = log.num_ranks();
  std::vector<double> rates;
  for (const StepPoint& step : log.steps()) {
    if (std::isfinite(step.tokens_per_second)) rates.push_back(step.tokens_per_second);
    totals.num_skipped += step.is_skipped ? 1 : 0;
  }
  if (!rates.empty()) totals.tokens_per_second = median(std::move(rates));
  if (!log.evaluations().empty()) {
    const Evaluation& first = log.evaluations().front();
    const Evaluation& last = log.evaluations().back();
    totals.has_before = log.evaluations().size() > 1;
    totals.loss_before = first.loss;
    totals.loss_after = last.loss;
    totals.correct_before = correct_of(first);
    totals.correct_after = correct_of(last);
    for (const TaskScore& task : last.tasks) totals.questions += task.questions;
  }
  add_memory(log, totals);
  for (const auto& [axis, kinds] : log.sent_bytes()) {
    for (const auto& [kind, bytes] : kinds) totals.sent_bytes += bytes;
  }
  return totals;
}

}  // namespace molora
