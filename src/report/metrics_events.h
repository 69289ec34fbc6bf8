// A metrics file that is there already, as TensorBoard events.
#pragma once

#include <filesystem>

#include "report/event_file.h"

namespace molora {

// Appends the scalars of every line (metrics_scalars.h); lines that are none of a run's, and a last
// one that is cut short, give nothing. The file does not tell when a line was written: times are
// reckoned back from its last change by what the steps took. Throws: IoError.
void append_metrics(const std::filesystem::path& metrics, EventFile& events);

}  // namespace molora
