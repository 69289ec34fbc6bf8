#include "train/router_health.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/check.h"

namespace molora {

namespace {

constexpr int64_t kMostParts = 10;
// How far above the limit an expert of a collapsed router must be to count as alive: an alarm does
// not come and go with a load that is about at the limit.
constexpr double kWellAbove = 2.0;
// Where the load is a sum of probabilities it is kept in parts of a token.
constexpr double kPartsOfToken = 1024.0;

std::string measure_text(const RouterAlarm& alarm) {
  switch (alarm.action) {
    case RouterHealthConfig::raise_loss:
      return "adapter.router.balance_loss_coef is ten times as high (at least 0.01) until it is "
             "over. If it stays so, set a higher one, or use the action revive";
    case RouterHealthConfig::bias:
      return "the bias of the choice of experts moves towards the dead ones until it is over. If "
             "it stays so, raise adapter.router.bias_update_rate, or use the action revive";
    case RouterHealthConfig::revive:
      return "the dead experts begin anew as slightly changed copies of the most used one. If it "
             "comes back, set adapter.router.balance_loss_coef (0.01) or bias_update_rate (0.001), "
             "or lower train.learning_rate";
    case RouterHealthConfig::warn:
      break;
  }
  return "nothing is done about it (adapter.router.health.action: warn). Set "
         "adapter.router.balance_loss_coef (0.01) or bias_update_rate (0.001), or the action "
         "raise_loss, bias or revive, and go on from the last checkpoint with --allow-change";
}

}  // namespace

const char* alarm_kind_name(RouterAlarm::Kind kind) {
  switch (kind) {
    case RouterAlarm::Kind::kCollapsed:
      return "collapsed";
    case RouterAlarm::Kind::kStillCollapsed:
      return "still_collapsed";
    case RouterAlarm::Kind::kRecovered:
      return "recovered";
  }
  return "";
}

std::string alarm_text(const RouterAlarm& alarm) {
  std::vector<std::string> shares;
  for (const double share : alarm.load) shares.push_back(fmt::format("{:.3f}", share));
  const std::string load = fmt::format("load of its experts {}", fmt::join(shares, " "));
  if (alarm.kind == RouterAlarm::Kind::kRecovered) {
    return fmt::format("step {}: router {} has recovered (collapsed since step {}); {}", alarm.step,
                       alarm.name, alarm.since, load);
  }
  return fmt::format(
      "step {}: router {} {}: {} of {} experts are hardly used ({}); {}; {}", alarm.step,
      alarm.name,
      alarm.kind == RouterAlarm::Kind::kCollapsed ? "has collapsed" : "is still collapsed",
      alarm.dead.size(), alarm.load.size(), fmt::join(alarm.dead, ", "), load, measure_text(alarm));
}

RouterHealth::RouterHealth(const AdapterSet& adapters, const RouterConfig& config)
    : config_(config.health()) {
  for (const LinearAdapter& linear : adapters.linears()) {
    if (linear.router_index != std::ssize(routers_)) continue;
    routers_.push_back(
        {linear.path, linear.spec.num_routed(), linear.spec.gate == RouterConfig::dense_softmax});
    most_experts_ = std::max(most_experts_, linear.spec.num_routed());
  }
  MOLORA_CHECK_EQ(num_routers(), adapters.num_routers());
  const int64_t window = std::max<int64_t>(1, config_.window());
  part_steps_ = (window + kMostParts - 1) / kMostParts;
  num_parts_ = (window + part_steps_ - 1) / part_steps_;
  collapsed_since_.assign(routers_.size(), 0);
  judged_from_.assign(routers_.size(), window_steps());
}

void RouterHealth::restore(const RouterHealthRecord& record) {
  const size_t of_part = routers_.size() * static_cast<size_t>(most_experts_);
  const auto fits = [&](const RouterLoadPart& part) {
    return static_cast<size_t>(part.load_size()) == of_part;
  };
  steps_ = 0;
  parts_.clear();
  collapsed_since_.assign(routers_.size(), 0);
  judged_from_.assign(routers_.size(), window_steps());
  if (record.window() != window_steps() ||
      static_cast<size_t>(record.collapsed_since_size()) != routers_.size() ||
      static_cast<size_t>(record.judged_from_size()) != routers_.size() ||
      !std::all_of(record.parts().begin(), record.parts().end(), fits)) {
    return;
  }
  steps_ = record.steps();
  for (const RouterLoadPart& part : record.parts()) {
    parts_.push_back({part.steps(), {part.load().begin(), part.load().end()}});
  }
  collapsed_since_.assign(record.collapsed_since().begin(), record.collapsed_since().end());
  judged_from_.assign(record.judged_from().begin(), record.judged_from().end());
}

RouterHealthRecord RouterHealth::record() const {
  RouterHealthRecord record;
  record.set_window(window_steps());
  record.set_steps(steps_);
  for (const Part& part : parts_) {
    RouterLoadPart& stored = *record.add_parts();
    stored.set_steps(part.steps);
    stored.mutable_load()->Assign(part.load.begin(), part.load.end());
  }
  record.mutable_collapsed_since()->Assign(collapsed_since_.begin(), collapsed_since_.end());
  record.mutable_judged_from()->Assign(judged_from_.begin(), judged_from_.end());
  return record;
}

std::vector<RouterAlarm> RouterHealth::step_done(int64_t steps_done, const Tensor& counts_RE,
                                                 const Tensor& prob_sum_RE) {
  if (routers_.empty()) return {};
  if (parts_.empty() || parts_.back().steps == part_steps_) {
    if (std::ssize(parts_) == num_parts_) parts_.pop_front();
    parts_.push_back({0, std::vector<int64_t>(static_cast<size_t>(counts_RE.numel()), 0)});
  }
  add_load(parts_.back(), counts_RE, prob_sum_RE);
  ++steps_;
  if (config_.window() == 0 || parts_.back().steps < part_steps_) return {};
  return judge(steps_done);
}

void RouterHealth::add_load(Part& part, const Tensor& counts_RE, const Tensor& prob_sum_RE) const {
  MOLORA_CHECK_EQ(counts_RE.size(0), num_routers());
  MOLORA_CHECK_EQ(counts_RE.size(1), most_experts_);
  const auto counts = counts_RE.accessor<int64_t, 2>();
  const auto sums = prob_sum_RE.accessor<double, 2>();
  ++part.steps;
  size_t at = 0;
  for (int64_t r = 0; r < num_routers(); ++r) {
    for (int64_t e = 0; e < most_experts_; ++e, ++at) {
      part.load[at] +=
          routers_[index(r)].is_dense ? std::llround(kPartsOfToken * sums[r][e]) : counts[r][e];
    }
  }
}

std::vector<RouterAlarm> RouterHealth::judge(int64_t steps_done) {
  std::vector<RouterAlarm> alarms;
  for (int64_t r = 0; r < num_routers(); ++r) {
    int64_t& since = collapsed_since_[index(r)];
    if (steps_ < judged_from_[index(r)]) continue;
    RouterAlarm alarm{.step = steps_done, .router = r, .name = name(r), .action = config_.action()};
    alarm.load = load(r);
    const bool was_collapsed = since != 0;
    alarm.dead = dead_of(r, alarm.load, was_collapsed ? kWellAbove : 1.0);
    const auto experts = static_cast<double>(routers_[index(r)].num_experts);
    const bool has_collapsed =
        static_cast<double>(alarm.dead.size()) > config_.collapsed_above() * experts;
    if (has_collapsed && !was_collapsed) since = steps_done;
    alarm.since = since;
    if (!has_collapsed) since = 0;
    if (!has_collapsed && !was_collapsed) continue;
    if (has_collapsed && was_collapsed) {
      // Said once, but what has begun anew since is judged anew.
      if (config_.action() != RouterHealthConfig::revive) continue;
      alarm.kind = RouterAlarm::Kind::kStillCollapsed;
    } else {
      alarm.kind = has_collapsed ? RouterAlarm::Kind::kCollapsed : RouterAlarm::Kind::kRecovered;
    }
    alarms.push_back(std::move(alarm));
  }
  return alarms;
}

void RouterHealth::forget(int64_t router) {
  for (Part& part : parts_) {
    const auto begin = part.load.begin() + router * most_experts_;
    std::fill(begin, begin + most_experts_, 0);
  }
  judged_from_[index(router)] = steps_ + window_steps();
}

bool RouterHealth::has_collapsed() const {
  return std::any_of(collapsed_since_.begin(), collapsed_since_.end(),
                     [](int64_t since) { return since != 0; });
}

std::vector<double> RouterHealth::load(int64_t router) const {
  const int64_t experts = routers_[index(router)].num_experts;
  std::vector<int64_t> sums(index(experts), 0);
  for (const Part& part : parts_) {
    for (int64_t e = 0; e < experts; ++e) {
      sums[index(e)] += part.load[index(router * most_experts_ + e)];
    }
  }
  const int64_t all = std::max<int64_t>(1, std::accumulate(sums.begin(), sums.end(), int64_t{0}));
  std::vector<double> shares;
  shares.reserve(sums.size());
  for (const int64_t sum : sums) {
    shares.push_back(static_cast<double>(sum) / static_cast<double>(all));
  }
  return shares;
}

std::vector<int64_t> RouterHealth::dead(int64_t router) const {
  return dead_of(router, load(router), 1.0);
}

std::vector<int64_t> RouterHealth::dead_of(int64_t router, const std::vector<double>& load,
                                           double factor) const {
  const double limit =
      factor * config_.dead_below() / static_cast<double>(routers_[index(router)].num_experts);
  std::vector<int64_t> dead;
  for (size_t e = 0; e < load.size(); ++e) {
    if (load[e] < limit) dead.push_back(static_cast<int64_t>(e));
  }
  return dead;
}

}  // namespace molora
