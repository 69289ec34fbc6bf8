// A chart of lines over training steps, as SVG in an HTML figure that keeps its text at reading
// size on any width: lines are stretched, text and dots are not.
#pragma once

#include <string>
#include <vector>

#include "report/axis_scale.h"
#include "report/downsample.h"

namespace molora {

// One run's, or one quantity's, line. Which one it is shows in its colour and in its dashes.
struct ChartLine {
  std::string name;
  size_t slot = 0;              // of the palette; the same run has the same one in all charts
  std::vector<BandPoint> band;  // drawn behind the line; empty: none
  std::vector<Point> line;
  bool has_dots = false;  // one for each point, for few
};

struct LineChart {
  std::string id;     // of the page's elements
  std::string title;  // "Training loss"
  std::string note;   // what is drawn, in a sentence
  std::string unit;   // of the values, for the axis; may be empty
  Quantity quantity = Quantity::kNumber;
  std::vector<ChartLine> lines;
  bool starts_at_zero = false;
  bool may_be_logarithmic = false;  // when the values span more than two decades
  std::string empty_text = "No values.";
};

// The figure. Its values go with it as JSON, for the reader that shows them under the pointer. A
// chart without any value says so instead.
std::string line_chart_html(const LineChart& chart);

// The name that a line has in the page's style sheet, "s0" to "s5"; later ones repeat the colours
// with other dashes.
std::string palette_class(size_t slot);
// A short piece of that line, for legends.
std::string line_sample_html(size_t slot);

}  // namespace molora
