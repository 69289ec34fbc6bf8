#include "report/run_log.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include <nlohmann/json.hpp>

namespace molora {

namespace {

using nlohmann::json;

const json& member(const json& object, const char* name) {
  static const json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(name);
  return found == object.end() ? kNothing : *found;
}

double number(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_number() ? value.get<double>() : kNoNumber;
}

int64_t whole_number(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_number_integer() ? value.get<int64_t>() : 0;
}

std::string text(const json& object, const char* name) {
  const json& value = member(object, name);
  return value.is_string() ? value.get<std::string>() : std::string();
}

bool is_true(const json& object, const char* name) { return member(object, name) == true; }

std::vector<double> numbers(const json& list) {
  std::vector<double> values;
  if (!list.is_array()) return values;
  for (const json& value : list) values.push_back(value.is_number() ? value.get<double>() : 0.0);
  return values;
}

std::vector<std::vector<double>> counts_of(const json& loads) {
  std::vector<std::vector<double>> counts;
  if (!loads.is_array()) return counts;
  for (const json& load : loads) counts.push_back(numbers(load));
  return counts;
}

TaskScore task_score(const json& object) {
  return {.task = text(object, "task"),
          .samples = whole_number(object, "samples"),
          .loss = number(object, "loss"),
          .token_accuracy = number(object, "token_accuracy"),
          .questions = whole_number(object, "questions"),
          .correct = whole_number(object, "correct"),
          .chance = number(object, "chance")};
}

RankPoint rank_point(const json& object) {
  constexpr double kGib = 1024.0 * 1024.0 * 1024.0;
  return {.host = text(object, "host"),
          .work = number(object, "work"),
          .waited = number(object, "waited"),
          .tokens = number(object, "tokens"),
          .peak_memory_bytes = kGib * number(object, "peak_memory_gib")};
}

RouterPoint router_point(const json& object) {
  const json& dead = member(object, "dead");
  return {.name = text(object, "name"),
          .load = numbers(member(object, "load")),
          .entropy = number(object, "entropy"),
          .top1_share = number(object, "top1_share"),
          .num_dead = dead.is_array() ? dead.size() : 0};
}

std::vector<GroupLoad> group_loads(const json& by_name) {
  std::vector<GroupLoad> loads;
  if (!by_name.is_object()) return loads;
  for (const auto& [name, load] : by_name.items()) loads.push_back({name, numbers(load)});
  return loads;
}

RouterReport router_report(const json& line, int64_t step) {
  RouterReport report{.step = step};
  for (const json& router : member(line, "routers")) {
    report.routers.push_back(router_point(router));
  }
  report.tasks = group_loads(member(line, "tasks"));
  report.scripts = group_loads(member(line, "scripts"));
  return report;
}

// Where the choices of a step went, over all routers.
void summarize_loads(const std::vector<std::vector<double>>& counts, StepPoint& point) {
  double sum = 0.0;
  size_t num_routers = 0;
  double largest = 0.0;
  for (const std::vector<double>& router : counts) {
    const double value = evenness(router);
    if (!std::isfinite(value)) continue;
    sum += value;
    ++num_routers;
    for (const double share : shares_of(router)) largest = std::max(largest, share);
  }
  if (num_routers == 0) return;
  point.evenness = sum / static_cast<double>(num_routers);
  point.largest_share = largest;
}

template <typename Item>
void drop_from(std::vector<Item>& items, int64_t step) {
  while (!items.empty() && items.back().step >= step) items.pop_back();
}

}  // namespace

void RunLog::add_line(const std::string& line) {
  ++num_lines_;
  const json object = json::parse(line, nullptr, /*allow_exceptions=*/false);
  const bool is_good = object.is_object() && member(object, "step").is_number_integer();
  if (is_good && add(object)) return;
  if (num_bad_lines_ == 0) first_bad_line_ = num_lines_;
  ++num_bad_lines_;
}

// False for a line of no known type; one that a later version added is none of those.
bool RunLog::add(const json& line) {
  const auto step = member(line, "step").get<int64_t>();
  const std::string type = text(line, "type");
  if (type == "run") {
    num_steps_ = whole_number(line, "num_steps");
    num_ranks_ = whole_number(member(line, "timing"), "ranks");
    router_names_.clear();
    for (const json& name : member(line, "routers")) {
      router_names_.push_back(name.is_string() ? name.get<std::string>() : std::string());
    }
  } else if (type == "step") {
    add_step(line, step);
  } else if (type == "eval") {
    drop_from(evaluations_, step);
    Evaluation evaluation{.step = step, .loss = number(line, "loss")};
    for (const json& task : member(line, "tasks")) evaluation.tasks.push_back(task_score(task));
    evaluations_.push_back(std::move(evaluation));
  } else if (type == "ranks") {
    drop_from(rank_reports_, step);
    RankReport report{.step = step};
    for (const json& rank : member(member(line, "timing"), "ranks")) {
      report.ranks.push_back(rank_point(rank));
    }
    rank_reports_.push_back(std::move(report));
  } else if (type == "routers") {
    drop_from(router_reports_, step);
    router_reports_.push_back(router_report(line, step));
  } else if (type == "alarm") {
    // Several routers may have one at the same step; those of later ones are of steps done again.
    while (!alarms_.empty() && alarms_.back().step > step) alarms_.pop_back();
    const json& dead = member(line, "dead");
    alarms_.push_back({.step = step,
                       .router = text(line, "router"),
                       .kind = text(line, "kind"),
                       .action = text(line, "action"),
                       .num_dead = dead.is_array() ? dead.size() : 0});
  }
  return !type.empty();
}

void RunLog::add_step(const json& line, int64_t step) {
  const json& timing = member(line, "timing");
  StepPoint point{.step = step,
                  .loss = number(line, "loss"),
                  .learning_rate = number(line, "learning_rate"),
                  .grad_norm = number(line, "grad_norm"),
                  .balance_loss = number(line, "balance_loss"),
                  .tokens = number(line, "tokens"),
                  .seconds = number(timing, "seconds"),
                  .tokens_per_second = number(timing, "tokens_per_second"),
                  .is_skipped = is_true(line, "skipped"),
                  .is_recomputed = timing.is_object() && timing.contains("recomputed")};
  drop_from(steps_, step);
  drop_from(alarms_, step);
  const std::vector<std::vector<double>> counts = counts_of(member(line, "expert_load"));
  if (!counts.empty()) {
    summarize_loads(counts, point);
    loads_.add(step, counts);
  }
  steps_.push_back(point);
  const json& sent = member(line, "sent_bytes");
  if (!sent.is_object()) return;
  for (const auto& [axis, kinds] : sent.items()) {
    if (!kinds.is_object()) continue;
    for (const auto& [kind, bytes] : kinds.items()) {
      if (bytes.is_number()) sent_bytes_[axis][kind] += bytes.get<double>();
    }
  }
}

std::vector<Point> RunLog::series(double StepPoint::*value) const {
  std::vector<Point> points;
  points.reserve(steps_.size());
  for (const StepPoint& step : steps_) {
    points.push_back({static_cast<double>(step.step), step.*value});
  }
  return points;
}

double RunLog::total_tokens() const {
  double total = 0.0;
  for (const StepPoint& step : steps_) total += std::isfinite(step.tokens) ? step.tokens : 0.0;
  return total;
}

double RunLog::total_seconds() const {
  double total = 0.0;
  for (const StepPoint& step : steps_) total += std::isfinite(step.seconds) ? step.seconds : 0.0;
  return total;
}

RouterPlace router_place(const std::string& name) {
  RouterPlace place;
  size_t begin = 0;
  while (begin <= name.size()) {
    const size_t end = std::min(name.find('.', begin), name.size());
    const std::string part = name.substr(begin, end - begin);
    int64_t layer = -1;
    const auto read = std::from_chars(part.data(), part.data() + part.size(), layer);
    const bool is_number = !part.empty() && read.ec == std::errc() &&
                           read.ptr == part.data() + part.size() && layer >= 0;
    if (is_number) {
      place.layer = layer;
    } else {
      place.linear = part;
    }
    begin = end + 1;
  }
  return place;
}

}  // namespace molora
