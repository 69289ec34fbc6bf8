// Where the time of a step goes: self times of its spans, summed by class of work.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "profile/work_class.h"
#include "profile/work_recording.h"

namespace molora {

// A span's time without that of the spans in it.
std::vector<int64_t> self_times_ns(const WorkTrack& track);

struct Breakdown {
  double seconds = 0;  // of the recording
  std::array<double, kNumWorkClasses> by_class{};
  // By name, of spans of all classes: self time and how often.
  struct Operator {
    double seconds = 0;
    int64_t calls = 0;
    WorkClass work = WorkClass::kOther;  // where it takes most; of a few of several classes
  };
  std::map<std::string, Operator> operators;
  std::map<std::string, double> collectives;  // by group: with the waiting for other ranks in them
  int64_t num_spans = 0;

  double at(WorkClass work) const { return by_class.at(static_cast<size_t>(work)); }
  // What has a name: the share of `seconds` that is neither kOther nor kBetween.
  double named_share() const;
};

// What the first track does not cover is kBetween. Time on other threads (the backward pass of GPU
// tensors) counts where it is spent; the first thread waits meanwhile, and that is taken off
// kBetween.
Breakdown breakdown_of(const WorkRecording& recording);

// The mean of several recordings of one rank. REQUIRES: there is one.
Breakdown mean_breakdown(const std::vector<WorkRecording>& recordings);

}  // namespace molora
