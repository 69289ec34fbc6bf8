// What a rank did in one step, as the recorder (profile/work_recorder.h) has seen it: spans of time
// that nest, by thread.
#pragma once

#include <cstdint>
#include <deque>
#include <set>
#include <string>
#include <vector>

#include "watch/place.h"

namespace molora {

enum class SpanKind : uint8_t {
  kOperator,      // of LibTorch, or a function of ours that marks itself (RECORD_FUNCTION)
  kBackwardNode,  // the backward of a forward operator, as the autograd engine runs it
  kPlace,         // watch/place.h
  kCollective,
};

struct Span {
  static constexpr int32_t kNoParent = -1;

  const char* name =
      "";  // "aten::mm", "molora::attend", "down_proj", "all_gather"; kept by the track
  const char* group = "";  // of a collective: the communicator
  SpanKind kind = SpanKind::kOperator;
  // Of a matrix product: whether its second factor is trained.
  bool has_trained_factor = false;
  int32_t parent = kNoParent;  // the span of this track that it lies in
  int32_t layer = WorkPlace::kNoLayer;
  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  // Joins a backward node with the forward operator that it belongs to; -1: none.
  int64_t sequence_nr = -1;
  uint64_t bytes = 0;  // of a collective: sent to other ranks

  int64_t duration_ns() const { return end_ns - begin_ns; }
};

// One thread's spans in the order of their begin. Only moved: spans point to its names.
struct WorkTrack {
  WorkTrack() = default;
  ~WorkTrack() = default;
  WorkTrack(const WorkTrack&) = delete;
  WorkTrack& operator=(const WorkTrack&) = delete;
  WorkTrack(WorkTrack&&) noexcept = default;
  WorkTrack& operator=(WorkTrack&&) noexcept = default;

  std::vector<Span> spans;
  std::set<std::string, std::less<>> names;
};

struct WorkRecording {
  WorkRecording() = default;
  ~WorkRecording() = default;
  WorkRecording(const WorkRecording&) = delete;
  WorkRecording& operator=(const WorkRecording&) = delete;
  // A deque's own may throw, and then a vector of recordings would copy them.
  WorkRecording(WorkRecording&&) noexcept = default;
  WorkRecording& operator=(WorkRecording&&) noexcept = default;

  int64_t begin_ns = 0;
  int64_t end_ns = 0;
  std::deque<WorkTrack> tracks;  // that of the thread that recorded first
  // Of tensors that were made in between, at the most (0: not asked for).
  int64_t peak_tensor_bytes = 0;

  int64_t duration_ns() const { return end_ns - begin_ns; }
};

}  // namespace molora
