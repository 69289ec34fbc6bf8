#include "api_call.h"

#include <atomic>
#include <charconv>
#include <string>

#include <fmt/format.h>

#include "report.h"
#include "settings.h"

namespace molora::fake_cuda {

namespace {

thread_local cudaError_t latest = cudaSuccess;
thread_local bool is_in_host_function = false;
std::atomic<cudaError_t> stays{cudaSuccess};

// FAKE_CUDA_FAIL="name:n[:code]".
struct Plan {
  std::string name;
  uint64_t number = 0;
  cudaError_t error = cudaErrorUnknown;
  std::atomic<uint64_t> seen{0};
};

uint64_t number_in(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) {
    stop(fmt::format("FAKE_CUDA_FAIL={} is not name:n or name:n:code", settings().fail));
  }
  return value;
}

Plan* read_plan() {
  auto* plan = new Plan;
  const std::string& text = settings().fail;
  if (text.empty()) return plan;
  const size_t first = text.find(':');
  const size_t second = first == std::string::npos ? first : text.find(':', first + 1);
  if (first == std::string::npos) number_in(text);
  plan->name = text.substr(0, first);
  plan->number = number_in(text.substr(first + 1, second - first - 1));
  if (second != std::string::npos) {
    plan->error = static_cast<cudaError_t>(number_in(text.substr(second + 1)));
  }
  return plan;
}

Plan& plan() {
  static Plan& once = *read_plan();
  return once;
}

}  // namespace

bool planned_failure_is_due(const char* name) {
  return plan().name == name && plan().seen.fetch_add(1) + 1 == plan().number;
}

cudaError_t enter(const char* name) {
  if (is_in_host_function) {
    report("host-function", fmt::format("{} is called by a function that runs on a stream", name));
    return cudaErrorNotPermitted;
  }
  if (stays != cudaSuccess) return stays;
  return planned_failure_is_due(name) ? plan().error : cudaSuccess;
}

cudaError_t leave(cudaError_t error) {
  if (error != cudaSuccess) latest = error;
  return error;
}

cudaError_t latest_error(AndThen then) {
  if (stays != cudaSuccess) return stays;
  const cudaError_t error = latest;
  if (then == AndThen::kForget) latest = cudaSuccess;
  return error;
}

cudaError_t latest_error_that_stays() { return leave(stays); }

void fail_for_good(cudaError_t error) {
  cudaError_t none = cudaSuccess;
  stays.compare_exchange_strong(none, error);
}

InHostFunction::InHostFunction() { is_in_host_function = true; }
InHostFunction::~InHostFunction() { is_in_host_function = false; }

}  // namespace molora::fake_cuda
