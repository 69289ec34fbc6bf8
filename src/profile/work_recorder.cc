#include "profile/work_recorder.h"

#include <time.h>

#include <algorithm>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>

#include <ATen/record_function.h>
#include <c10/core/Allocator.h>
#include <c10/util/ThreadLocalDebugInfo.h>

#include "base/check.h"
#include "watch/work_observer.h"

namespace molora {

namespace {

// A thread's spans with those that are still open, innermost last.
struct OpenTrack {
  std::thread::id thread;
  WorkTrack* track = nullptr;
  std::vector<int32_t> open;
};

const char* kept_name(WorkTrack& track, std::string_view name) {
  const auto found = track.names.find(name);
  return (found != track.names.end() ? found : track.names.emplace(name).first)->c_str();
}

bool is_matrix_product(std::string_view name) {
  return name == "aten::linear" || name == "aten::mm" || name == "aten::addmm" ||
         name == "aten::addmm_" || name == "aten::matmul" || name == "aten::mkldnn_linear";
}

bool second_factor_is_trained(c10::ArrayRef<const c10::IValue> inputs) {
  return inputs.size() > 1 && std::any_of(inputs.begin() + 1, inputs.end(), [](const auto& input) {
           return input.isTensor() && input.toTensor().defined() &&
                  input.toTensor().requires_grad();
         });
}

}  // namespace

int64_t now_ns(WorkClock clock) {
  timespec time{};
  const int failed =
      ::clock_gettime(clock == WorkClock::kWall ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &time);
  MOLORA_CHECK(failed == 0);
  return int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
}

// LibTorch hands it from thread to thread as the state of a profiler.
class WorkRecorder::State final : public c10::MemoryReportingInfoBase, public WorkObserver {
 public:
  explicit State(WorkClock clock) : clock_(clock) {}

  bool is_recording() const { return guard_.has_value(); }

  void start(Memory memory, const std::shared_ptr<State>& self) {
    MOLORA_CHECK(!is_recording() && thread_observer() == nullptr);
    MOLORA_CHECK(c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE) == nullptr,
                 "another profiler is at work");
    recording_ = WorkRecording();
    open_.clear();
    memory_ = memory;
    live_bytes_ = 0;
    track_of_this_thread();
    guard_.emplace(c10::DebugInfoKind::PROFILER_STATE, self);
    handle_ = at::addThreadLocalCallback(
        at::RecordFunctionCallback(&State::begin, &State::end)
            .needsInputs(true)
            .scopes({at::RecordScope::FUNCTION, at::RecordScope::BACKWARD_FUNCTION}));
    observe_thread(this);
    recording_.begin_ns = now_ns(clock_);
  }

  WorkRecording stop() {
    MOLORA_CHECK(is_recording());
    recording_.end_ns = now_ns(clock_);
    observe_thread(nullptr);
    at::removeCallback(handle_);
    guard_.reset();
    for (const OpenTrack& track : open_) {
      MOLORA_CHECK(track.open.empty(), "{} is still under way",
                   track.track->spans[static_cast<size_t>(track.open.back())].name);
    }
    return std::move(recording_);
  }

  // --- WorkObserver ---
  void enter_place(const WorkPlace& place) override {
    Span& span = enter(place.part, SpanKind::kPlace);
    span.layer = place.layer;
  }
  void leave_place() override { leave(); }
  void enter_collective(const std::string& group, const char* operation,
                        uint64_t bytes_sent) override {
    Span& span = enter(operation, SpanKind::kCollective);
    span.group = kept_name(*track_of_this_thread().track, group);
    span.bytes = bytes_sent;
  }
  void leave_collective() override { leave(); }

  // --- c10::MemoryReportingInfoBase ---
  void reportMemoryUsage(void* /*address*/, int64_t size, size_t /*allocated*/, size_t /*reserved*/,
                         c10::Device /*device*/) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    live_bytes_ += size;
    recording_.peak_tensor_bytes = std::max(recording_.peak_tensor_bytes, live_bytes_);
  }
  bool memoryProfilingEnabled() const override { return memory_ == Memory::kCounted; }

 private:
  static State* of_this_thread() {
    return static_cast<State*>(static_cast<c10::MemoryReportingInfoBase*>(
        c10::ThreadLocalDebugInfo::get(c10::DebugInfoKind::PROFILER_STATE)));
  }

  static std::unique_ptr<at::ObserverContext> begin(const at::RecordFunction& function) {
    State* state = of_this_thread();
    if (state == nullptr) return nullptr;
    const bool is_node = function.scope() == at::RecordScope::BACKWARD_FUNCTION;
    const char* name = function.name();
    const bool is_trained = is_matrix_product(name) && second_factor_is_trained(function.inputs());
    Span& span = state->enter(name, is_node ? SpanKind::kBackwardNode : SpanKind::kOperator);
    span.has_trained_factor = is_trained;
    span.sequence_nr = function.seqNr();
    return nullptr;
  }
  static void end(const at::RecordFunction& /*function*/, at::ObserverContext* /*context*/) {
    if (State* state = of_this_thread()) state->leave();
  }

  OpenTrack& track_of_this_thread() {
    const std::lock_guard<std::mutex> lock(mutex_);
    const std::thread::id self = std::this_thread::get_id();
    for (OpenTrack& track : open_) {
      if (track.thread == self) return track;
    }
    return open_.emplace_back(OpenTrack{self, &recording_.tracks.emplace_back(), {}});
  }

  Span& enter(std::string_view name, SpanKind kind) {
    OpenTrack& at = track_of_this_thread();
    std::vector<Span>& spans = at.track->spans;
    const int32_t parent = at.open.empty() ? Span::kNoParent : at.open.back();
    at.open.push_back(static_cast<int32_t>(spans.size()));
    Span& span = spans.emplace_back();
    span.name = kept_name(*at.track, name);
    span.kind = kind;
    span.parent = parent;
    if (parent != Span::kNoParent) span.layer = spans[static_cast<size_t>(parent)].layer;
    span.begin_ns = now_ns(clock_);
    return span;
  }

  void leave() {
    const int64_t now = now_ns(clock_);
    OpenTrack& at = track_of_this_thread();
    MOLORA_CHECK(!at.open.empty());
    at.track->spans[static_cast<size_t>(at.open.back())].end_ns = now;
    at.open.pop_back();
  }

  WorkClock clock_;
  Memory memory_ = Memory::kIgnored;
  std::mutex mutex_;  // of the lists of tracks and the bytes; a track belongs to its thread
  WorkRecording recording_;
  std::deque<OpenTrack> open_;
  int64_t live_bytes_ = 0;
  at::CallbackHandle handle_ = at::INVALID_CALLBACK_HANDLE;
  std::optional<c10::DebugInfoGuard> guard_;
};

WorkRecorder::WorkRecorder(WorkClock clock) : state_(std::make_shared<State>(clock)) {}

WorkRecorder::~WorkRecorder() {
  if (!state_->is_recording()) return;
  // A step that was left by an exception: its spans have ended with their scopes.
  try {
    (void)state_->stop();
  } catch (const std::exception&) {  // NOLINT(bugprone-empty-catch): nobody asks for it any more
  }
}

void WorkRecorder::start(Memory memory) { state_->start(memory, state_); }

bool WorkRecorder::is_recording() const { return state_->is_recording(); }

WorkRecording WorkRecorder::stop() { return state_->stop(); }

}  // namespace molora
