#include "group.h"

#include <algorithm>
#include <thread>
#include <utility>

#include <fmt/format.h>

#include "device_use.h"
#include "report.h"

namespace molora::fake_nccl {

namespace {

// The worse of two: an error before ncclInProgress before success.
ncclResult_t worse(ncclResult_t a, ncclResult_t b) {
  return a == ncclSuccess || (a == ncclInProgress && b != ncclSuccess) ? b : a;
}

}  // namespace

Group& Group::current() {
  thread_local Group group;
  return group;
}

Group::~Group() {
  if (is_open()) say(fmt::format("RULE group: a thread ends inside {} ncclGroupStart", depth_));
}

bool Group::holds(const Communicator& communicator) const {
  return std::any_of(batches_.begin(), batches_.end(),
                     [&](const Batch& batch) { return batch.communicator.get() == &communicator; });
}

void Group::add(const std::shared_ptr<Communicator>& communicator, const Operation& operation,
                FailureKind failure) {
  for (Batch& batch : batches_) {
    if (batch.communicator != communicator) continue;
    if (batch.operations.front().stream != operation.stream) {
      fail(communicator->breach(communicator->rank(), "group",
                                fmt::format("{} is on another stream than the operations of the "
                                            "group before it",
                                            text_of(operation))));
      return;
    }
    batch.operations.push_back(operation);
    if (failure != FailureKind::kNone) batch.failure = failure;
    return;
  }
  batches_.push_back(Batch{communicator, {operation}, failure});
}

void Group::fail(ncclResult_t error) {
  if (is_open()) error_ = worse(error_, error);
}

ncclResult_t Group::run_jobs() {
  std::vector<ncclResult_t> results(jobs_.size(), ncclSuccess);
  std::vector<std::thread> threads;
  for (size_t i = 0; i < jobs_.size(); ++i) {
    threads.emplace_back([this, &results, i] { results[i] = jobs_[i](); });
  }
  for (std::thread& thread : threads) thread.join();
  ncclResult_t result = ncclSuccess;
  for (const ncclResult_t one : results) result = worse(result, one);
  return result;
}

ncclResult_t Group::end() {
  if (!is_open()) {
    say("RULE group: ncclGroupEnd without ncclGroupStart");
    return ncclInvalidUsage;
  }
  if (--depth_ > 0) return ncclSuccess;
  ncclResult_t result = std::exchange(error_, ncclSuccess);
  if (result == ncclSuccess) result = run_jobs();
  std::vector<Batch> batches = std::exchange(batches_, {});
  jobs_.clear();
  if (result != ncclSuccess && result != ncclInProgress) return result;
  for (Batch& batch : batches) {
    const Inside inside(*batch.communicator);
    if (!inside.is_allowed()) return ncclInvalidUsage;
    const ncclResult_t one = launch(std::move(batch));
    result = worse(result, one);
  }
  return result;
}

}  // namespace molora::fake_nccl
