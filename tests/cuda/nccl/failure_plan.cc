#include "failure_plan.h"

#include <charconv>
#include <map>
#include <string_view>

#include <fmt/format.h>

#include "report.h"
#include "settings.h"

namespace molora::fake_nccl {

namespace {

struct Plan {
  int64_t rank = -1;  // any
  uint64_t op = 0;
  std::string communicator;  // empty: any
  FailureKind kind = FailureKind::kNone;
};

[[noreturn]] void wrong(std::string_view what) {
  stop(
      fmt::format("FAKE_NCCL_FAIL={}: {} is not understood; it is "
                  "rank=R,op=N,kind=async|remote|hang|call|inprogress_forever|init,comm=NAME",
                  settings().fail, what));
}

int64_t number_in(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size() || value < 0) wrong(text);
  return value;
}

FailureKind kind_of(const std::string& text) {
  static const auto& kinds = *new std::map<std::string, FailureKind>{
      {"async", FailureKind::kAsync}, {"remote", FailureKind::kRemote},
      {"hang", FailureKind::kHang},   {"call", FailureKind::kCall},
      {"init", FailureKind::kInit},   {"inprogress_forever", FailureKind::kInProgressForever}};
  const auto found = kinds.find(text);
  if (found == kinds.end()) wrong(text);
  return found->second;
}

Plan read() {
  Plan plan;
  std::string_view rest = settings().fail;
  while (!rest.empty()) {
    const size_t comma = rest.find(',');
    const std::string_view entry = rest.substr(0, comma);
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    const size_t equals = entry.find('=');
    if (equals == std::string_view::npos) wrong(entry);
    const std::string_view key = entry.substr(0, equals);
    const std::string_view value = entry.substr(equals + 1);
    if (key == "rank")
      plan.rank = number_in(value);
    else if (key == "op")
      plan.op = static_cast<uint64_t>(number_in(value));
    else if (key == "comm")
      plan.communicator = value;
    else if (key == "kind")
      plan.kind = kind_of(std::string(value));
    else
      wrong(entry);
  }
  if (!settings().fail.empty() && plan.kind == FailureKind::kNone) wrong("a plan without kind");
  return plan;
}

}  // namespace

FailureKind planned_failure(const std::string& communicator, int rank, uint64_t op) {
  static const Plan& plan = *new Plan(read());
  const bool is_meant = (plan.rank < 0 || plan.rank == rank) && plan.op == op &&
                        (plan.communicator.empty() || plan.communicator == communicator);
  return is_meant ? plan.kind : FailureKind::kNone;
}

}  // namespace molora::fake_nccl
