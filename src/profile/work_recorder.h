// Records what a rank does: LibTorch's operators and our own marked functions (through
// at::RecordFunction), places and collectives (through watch/work_observer.h).
//
// While it records, callbacks of the recording thread are registered with LibTorch, which hands
// them on to the thread that runs the backward pass of GPU tensors; before and after that nothing
// is registered and nothing is noted. Ranks that are threads of one process record independently.
//
// A time is that of the host. On a GPU an operator's is the time to give it to the device.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "profile/work_recording.h"

namespace molora {

enum class WorkClock {
  kWall,
  // Of the thread, on a processor: what a busy machine's other work does not change. With one
  // compute thread it is the whole of the work.
  kThreadCpu,
};

// Nanoseconds on this clock, from where it begins.
int64_t now_ns(WorkClock clock);

class WorkRecorder {
 public:
  explicit WorkRecorder(WorkClock clock);
  // Stops recording.
  ~WorkRecorder();
  WorkRecorder(const WorkRecorder&) = delete;
  WorkRecorder& operator=(const WorkRecorder&) = delete;
  WorkRecorder(WorkRecorder&&) = delete;
  WorkRecorder& operator=(WorkRecorder&&) = delete;

  enum class Memory {
    kIgnored,
    kCounted,  // bytes of tensors; costs more than the operators' times do
  };
  // Records the calling thread from here on. REQUIRES: it records nothing yet, and no other
  // recorder or LibTorch profiler is at work on this thread.
  void start(Memory memory = Memory::kIgnored);
  bool is_recording() const;
  // What was done since start(). REQUIRES: called by the thread that started.
  WorkRecording stop();

 private:
  class State;
  std::shared_ptr<State> state_;  // LibTorch's threads may hold it a moment longer
};

}  // namespace molora
