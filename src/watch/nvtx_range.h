// Places (watch/place.h) as NVTX ranges, which NVIDIA's profilers (nsys, ncu) show beside the
// kernels. In a program built without CUDA, and where no profiler is attached, nothing is done.
#pragma once

#include "watch/place.h"

namespace molora {

// Begins a range on this thread. Returns whether there is one to end.
bool begin_nvtx_range(const WorkPlace& place);
// Ends the innermost range of this thread.
void end_nvtx_range();

}  // namespace molora
