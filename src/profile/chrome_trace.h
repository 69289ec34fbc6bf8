// A recorded step as the events of a Chrome trace (chrome://tracing, Perfetto): a row for each rank
// and thread, spans in it that nest, collectives with the bytes that they send.
//
// Format: "Trace Event Format" (Google, 2016), complete events ("X") and metadata ("M"); times in
// microseconds.
#pragma once

#include <cstdint>
#include <string>

#include "profile/work_recording.h"

namespace molora {

struct TraceRank {
  int rank = 0;
  std::string host;
  // What the clock of rank 0 shows when this rank's shows 0, less what its shows where the trace
  // begins: begin_ns + offset_ns is where a span lies in the trace.
  int64_t offset_ns = 0;
};

// The events of one rank, one a line, each with a comma after it but for the last: events of
// several ranks are put together with commas between them.
std::string chrome_events(const WorkRecording& recording, const TraceRank& rank, int64_t step);

// Before and behind the events.
std::string chrome_trace_begin();
std::string chrome_trace_end();

}  // namespace molora
