// What happened on the way: lanes of marks over training steps, as SVG in an HTML figure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace molora {

// Each has a shape of its own, besides its colour.
enum class MarkShape { kCross, kSquare, kCircle, kTriangle };

struct TimelineMark {
  int64_t step = 0;
  std::string text;  // under the pointer
};

struct TimelineLane {
  std::string name;
  MarkShape shape = MarkShape::kCircle;
  std::vector<TimelineMark> marks;
};

struct Timeline {
  std::string id;
  std::string title;
  std::string note;
  int64_t last_step = 0;  // the end of the axis
  std::vector<TimelineLane> lanes;
};

// The figure. A lane with very many marks shows every so many of them and says so.
std::string timeline_html(const Timeline& timeline);

}  // namespace molora
