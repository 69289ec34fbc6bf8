#include "launcher/supervise/restart_policy.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "base/check.h"
#include "watch/fault_kind.h"

namespace molora {

namespace {

std::string joined(const std::set<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

std::string times(uint32_t count) { return count == 1 ? "once" : fmt::format("{} times", count); }

}  // namespace

RestartPolicy::RestartPolicy(const SupervisorConfig& config, int64_t saved_step_at_start)
    : config_(config), saved_step_(saved_step_at_start) {}

void RestartPolicy::note_progress(int64_t saved_step) {
  if (saved_step <= saved_step_) return;
  saved_step_ = saved_step;
  restarts_ = 0;
  has_restarted_for_memory_ = false;
  failing_host_.clear();
  failures_of_host_ = 0;
}

std::string RestartPolicy::judge_host(const AttemptEnd& end, const CanRunWithout& can_run_without) {
  const std::string host = end.host.value_or("");
  if (host != failing_host_) failures_of_host_ = 0;
  failing_host_ = host;
  if (host.empty()) return {};
  ++failures_of_host_;
  if (failures_of_host_ < config_.failures_of_host()) return {};
  const std::string what = fmt::format(
      "host {} has failed {}", host,
      failures_of_host_ == 1 ? "once" : fmt::format("{} times in a row", failures_of_host_));
  std::set<std::string> without = left_out_;
  without.insert(host);
  if (!can_run_without(without)) return what + ", but the job has no layout without it; ";
  left_out_ = std::move(without);
  failing_host_.clear();
  failures_of_host_ = 0;
  return what + " and is left out; ";
}

RestartDecision RestartPolicy::decide(const AttemptEnd& end, const CanRunWithout& can_run_without) {
  const auto ended = [this](const std::string& why) {
    return RestartDecision{RestartDecision::kEnd, 0.0, left_out_, why};
  };
  if (end.fault == FAULT_NONE) return ended("not restarted: the run is done");
  if (end.is_stop_requested) return ended("not restarted: a stop was asked for");
  if (is_permanent(end.fault)) {
    return ended(
        fmt::format("not restarted: a fault of kind '{}' would come back", fault_text(end.fault)));
  }
  const bool has_progress = end.saved_step > saved_step_;
  note_progress(end.saved_step);
  if (config_.max_restarts() == 0) return ended("not restarted: supervisor.max_restarts is 0");
  if (restarts_ >= config_.max_restarts()) {
    return ended(
        fmt::format("not restarted: started again {} without a checkpoint newer than step {} "
                    "(supervisor.max_restarts {})",
                    times(restarts_), saved_step_, config_.max_restarts()));
  }
  if (end.fault == FAULT_MEMORY && has_restarted_for_memory_) {
    return ended(
        "not restarted: out of memory again without a new checkpoint, and the same start would "
        "need the same memory");
  }
  const std::string about_host = judge_host(end, can_run_without);
  const double delay = std::min(config_.max_restart_delay(),
                                std::ldexp(config_.restart_delay(), static_cast<int>(restarts_)));
  ++restarts_;
  if (end.fault == FAULT_MEMORY) has_restarted_for_memory_ = true;
  const std::string budget =
      has_progress ? fmt::format("step {} was saved since the last start", saved_step_)
                   : fmt::format("restart {} of {} without a new checkpoint", restarts_,
                                 config_.max_restarts());
  return {RestartDecision::kRestart, delay, left_out_,
          fmt::format("{}restarted in {:.4g} s: {}", about_host, delay, budget)};
}

RestartDecision RestartPolicy::give_up_hosts(const std::set<std::string>& unreachable,
                                             const CanRunWithout& can_run_without) {
  MOLORA_CHECK(!unreachable.empty());
  std::set<std::string> without = left_out_;
  without.insert(unreachable.begin(), unreachable.end());
  const std::string what =
      fmt::format("{} {} not answered for {:.4g} s", joined(unreachable),
                  unreachable.size() == 1 ? "has" : "have", config_.wait_for_hosts());
  if (!can_run_without(without)) {
    return {RestartDecision::kEnd, 0.0, left_out_,
            fmt::format("not restarted: {}, and the job has no layout without {}", what,
                        unreachable.size() == 1 ? "it" : "them")};
  }
  left_out_ = std::move(without);
  return {RestartDecision::kRestart, 0.0, left_out_,
          fmt::format("restarted without {}: {}", unreachable.size() == 1 ? "it" : "them", what)};
}

}  // namespace molora
