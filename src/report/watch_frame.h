// What a run looks like on a terminal, as text: one frame of `molora watch`.
#pragma once

#include <string>
#include <vector>

#include "report/run_record.h"

namespace molora {

enum class Glyphs { kUnicode, kAscii };

struct FrameSize {
  int columns = 80;
  int rows = 24;
};

// Values from the lowest to the highest as a row of blocks of eight heights, the latest ones to the
// right, at most `width` of them; neighbours share a block when there are more values. Values that
// are not finite are blank. ASCII has four heights.
std::string sparkline(const std::vector<double>& values, size_t width, Glyphs glyphs);

// Lines without their ends, none wider than the terminal, no more than it has rows: state and
// progress with the time that is left, losses, speed, load of experts, the last evaluation by task,
// the latest faults. What there is no room for is left out from below. Texts of files are shown
// without control characters.
std::vector<std::string> watch_frame(const RunRecord& run, FrameSize size, Glyphs glyphs);

// The one line of a step, for what is no terminal: "step 40/150 loss 1.2345 ...".
std::string watch_line(const RunLog& log);

}  // namespace molora
