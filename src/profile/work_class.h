// What kind of work a recorded span is: the rows of a step's breakdown.
//
// A span is of the class that its name says (functions of ours that mark themselves, places of the
// optimizer and the head, collectives), else of that of the span it lies in, else a backward node
// is of the class of the forward operator that it belongs to, else what LibTorch's name of it says.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "profile/work_recording.h"

namespace molora {

enum class WorkClass : uint8_t {
  kBaseForward,
  kBaseGradient,
  kAdapterForward,
  kAdapterGradient,
  kRouting,
  kAttention,
  kElementwise,
  kHead,
  kOptimizer,
  kCollective,
  kData,
  kOther,    // a function that marks itself with a name that is not known here
  kBetween,  // outside every operator
};
constexpr size_t kNumWorkClasses = 13;

// "base, forward", "base, input gradients", ...
const char* work_class_name(WorkClass work);
// "base_forward", "base_gradient", ...: for files.
const char* work_class_key(WorkClass work);

// Of each span of a track, in its order. A place is of its own class where that is known, else
// kBetween: what it takes itself lies outside every operator.
std::vector<WorkClass> classes_of(const WorkTrack& track);

}  // namespace molora
