#include "comm/nccl_state.h"

#include <algorithm>
#include <exception>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "base/error.h"
#include "base/mutation.h"
#include "watch/black_box.h"

namespace molora {

namespace {

constexpr std::chrono::microseconds kPause{20};
constexpr std::chrono::milliseconds kWatchEvery{50};
constexpr std::chrono::seconds kEndLimit{10};  // for a communicator to end in order

double seconds(std::chrono::steady_clock::duration duration) {
  return std::chrono::duration<double>(duration).count();
}

std::string operation_text(const NcclOperation& operation) {
  return fmt::format("{}: {} #{} ({} bytes sent)", operation.group, operation.name,
                     operation.sequence, operation.bytes);
}

struct ProcessFailure {
  std::mutex mutex;
  std::string text;
};
ProcessFailure& process_failure() {
  static ProcessFailure failure;
  return failure;
}

void note_nccl_failure(const std::string& text) {
  ProcessFailure& failure = process_failure();
  const std::lock_guard held(failure.mutex);
  if (failure.text.empty()) failure.text = text;
}

// NCCL's own words for what happened last, which say more than its code does.
std::string nccl_text(ncclComm_t comm, ncclResult_t result) {
  const char* last = ncclGetLastError(comm);
  std::string text = ncclGetErrorString(result);
  if (last != nullptr && *last != 0) text += fmt::format(" ({})", last);
  return text;
}

}  // namespace

NcclState::NcclState(NcclContext::Options options)
    : options_(std::move(options)), last_end_(Clock::now()) {
  check(cudaSetDevice(options_.gpu), "cudaSetDevice");
  int lowest = 0;
  int highest = 0;
  check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "cudaDeviceGetStreamPriorityRange");
  // First among equals: what waits for other ranks should not wait for this rank's own work too.
  check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest),
        "cudaStreamCreateWithPriority");
  compute_reached_ = take_event();
  watchman_ = std::jthread([this](const std::stop_token& stop) { keep_watch(stop); });
}

NcclState::~NcclState() {
  watchman_.request_stop();
  watchman_.join();
  for (const Pending& pending : pending_) cudaEventDestroy(pending.done);
  for (cudaEvent_t event : free_events_) cudaEventDestroy(event);
  if (compute_reached_ != nullptr) cudaEventDestroy(compute_reached_);
  if (stream_ != nullptr) cudaStreamDestroy(stream_);
}

cudaEvent_t NcclState::take_event() {
  cudaEvent_t event = nullptr;
  if (free_events_.empty()) {
    check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming), "cudaEventCreateWithFlags");
    return event;
  }
  event = free_events_.back();
  free_events_.pop_back();
  return event;
}

cudaStream_t NcclState::compute_stream() const {
  return static_cast<cudaStream_t>(options_.compute_stream());
}

void NcclState::follow_compute() {
  const auto held = lock();
  check_alive();
  if (MOLORA_MUTANT(kNcclBeforeWork)) return;
  check(cudaEventRecord(compute_reached_, compute_stream()), "cudaEventRecord");
  check(cudaStreamWaitEvent(stream_, compute_reached_, 0), "cudaStreamWaitEvent");
}

cudaEvent_t NcclState::note(const NcclOperation& operation) {
  const auto held = lock();
  drop_finished();
  if (pending_.empty()) last_end_ = Clock::now();
  cudaEvent_t done = take_event();
  pending_.push_back({operation, current_place(), done, Clock::now()});
  latest_ = operation;
  check(cudaEventRecord(done, stream_), "cudaEventRecord");
  return done;
}

void NcclState::lead_compute(cudaEvent_t done) {
  const auto held = lock();
  check_alive();
  if (MOLORA_MUTANT(kNcclAfterIgnored)) return;
  check(cudaStreamWaitEvent(compute_stream(), done, 0), "cudaStreamWaitEvent");
}

void NcclState::settle(ncclComm_t comm, ncclResult_t result, const NcclOperation& operation) {
  const Clock::time_point begin = Clock::now();
  while (result == ncclSuccess || result == ncclInProgress) {
    const ncclResult_t asked = ncclCommGetAsyncError(comm, &result);
    if (asked != ncclSuccess) result = asked;
    if (result == ncclSuccess) return;
    if (result != ncclInProgress) break;
    if (is_over_limit(begin)) {
      fail(
          fmt::format("{} was not accepted by NCCL within {} s. Another rank has not come here, or "
                      "the ranks cannot reach each other (NCCL_DEBUG=INFO shows the interfaces)",
                      operation_text(operation), seconds(options_.time_limit)));
    }
    std::this_thread::sleep_for(kPause);
  }
  fail(fmt::format("{} failed: {}", operation_text(operation), nccl_text(comm, result)));
}

void NcclState::check(cudaError_t result, const char* call) {
  if (result == cudaSuccess) return;
  fail(fmt::format("{} on GPU {} failed: {} ({})", call, options_.gpu, cudaGetErrorString(result),
                   cudaGetErrorName(result)));
}

bool NcclState::is_reached(cudaEvent_t event) {
  const cudaError_t result = cudaEventQuery(event);
  if (result == cudaErrorNotReady) {
    // No error, but kept as the thread's last one, which whoever starts the next kernel would take
    // for its own.
    (void)cudaGetLastError();
    return false;
  }
  check(result, "cudaEventQuery");
  return true;
}

void NcclState::wait_until(const std::function<bool()>& is_done) {
  while (!is_done()) {
    watch();
    std::this_thread::sleep_for(kPause);
  }
  watch();
  BlackBox* box = thread_black_box();
  if (box != nullptr && pending_.empty()) box->leave_collective();
}

void NcclState::watch() {
  const auto held = lock();
  check_alive();
  drop_finished();
  for (ncclComm_t comm : comms_) {
    ncclResult_t result = ncclSuccess;
    const ncclResult_t asked = ncclCommGetAsyncError(comm, &result);
    if (asked != ncclSuccess) result = asked;
    if (result == ncclSuccess || result == ncclInProgress) continue;
    const std::string where = pending_.empty()
                                  ? "the latest collective was " + operation_text(latest_)
                                  : describe(pending_.front(), {});
    fail(
        fmt::format("NCCL failed: {}; {}. Another rank was probably lost; look for the first error "
                    "in the other ranks' output",
                    nccl_text(comm, result), where));
  }
  if (pending_.empty()) return;
  const Clock::time_point since = std::max(pending_.front().issued, last_end_);
  if (!is_over_limit(since)) return;
  fail(
      fmt::format("{}: not every rank has come to it, or one has other sizes "
                  "(parallel.collective_timeout is {} s)",
                  describe(pending_.front(), Clock::now() - since), seconds(options_.time_limit)));
}

void NcclState::drop_finished() {
  while (!pending_.empty() && is_reached(pending_.front().done)) {
    free_events_.push_back(pending_.front().done);
    pending_.pop_front();
    last_end_ = Clock::now();
  }
}

std::string NcclState::describe(const Pending& pending, Clock::duration waited) const {
  const std::string place = place_text(pending.place);
  std::string text = operation_text(pending.operation);
  if (!place.empty()) text += " in " + place;
  text += waited == Clock::duration{}
              ? " is under way"
              : fmt::format(" has not ended after {:.1f} s", seconds(waited));
  if (pending_.size() > 1) text += fmt::format(", {} more wait behind it", pending_.size() - 1);
  return text;
}

bool NcclState::is_over_limit(Clock::time_point since) const {
  return Clock::now() - since > options_.time_limit;
}

// Never waits for the thread that works: what that one is doing has limits of its own.
void NcclState::keep_watch(const std::stop_token& stop) {
  cudaSetDevice(options_.gpu);
  while (!stop.stop_requested()) {
    std::this_thread::sleep_for(kWatchEvery);
    const std::unique_lock held(mutex_, std::try_to_lock);
    if (!held.owns_lock() || pending_.empty() || !failure_.empty()) continue;
    try {
      watch();
    } catch (const CommError&) {
      // Kept as failure_, for the thread that works.
    }
  }
}

void NcclState::check_alive() const {
  if (!failure_.empty()) throw CommError(failure_);
}

void NcclState::fail(const std::string& what) {
  const auto held = lock();
  if (failure_.empty()) {
    failure_ = what;
    note_nccl_failure(what);
    abort_all();
  }
  throw CommError(failure_);
}

// Kernels of NCCL that spin for a lost peer end by this; without it the GPU would never be free.
void NcclState::abort_all() {
  for (ncclComm_t comm : std::exchange(comms_, {})) ncclCommAbort(comm);
}

// The host runs ahead of the GPU: what it has put on the stream is still to be done. All groups
// share the stream, so that none can end in order while another one's collective is under way.
void NcclState::finish_pending() {
  wait_until([this] {
    drop_finished();
    return pending_.empty();
  });
}

void NcclState::remove(ncclComm_t comm) {
  const auto held = lock();
  if (std::uncaught_exceptions() > 0) {  // this rank leaves in the middle of its work
    if (failure_.empty()) failure_ = "this rank's communicators have ended";
    abort_all();
    return;
  }
  try {
    if (failure_.empty()) finish_pending();
  } catch (const CommError& error) {
    spdlog::warn("{}", error.what());  // all communicators have ended, this one too
  }
  const auto found = std::find(comms_.begin(), comms_.end(), comm);
  if (found == comms_.end()) return;
  comms_.erase(found);
  ncclResult_t result = ncclCommFinalize(comm);
  const Clock::time_point begin = Clock::now();
  while (result == ncclSuccess || result == ncclInProgress) {
    if (ncclCommGetAsyncError(comm, &result) != ncclSuccess || result == ncclSuccess) break;
    if (Clock::now() - begin > kEndLimit) break;
    std::this_thread::sleep_for(kPause);
  }
  if (result == ncclSuccess) {
    ncclCommDestroy(comm);
    return;
  }
  spdlog::warn("an NCCL communicator did not end in order: {}", nccl_text(comm, result));
  ncclCommAbort(comm);
}

std::string nccl_failure() {
  ProcessFailure& failure = process_failure();
  const std::lock_guard held(failure.mutex);
  return failure.text;
}

}  // namespace molora
