// The chart of one number of every step, as several sections of a page have it.
#pragma once

#include <string>

#include "report/line_chart.h"
#include "report/page_sections.h"

namespace molora {

struct StepChart {
  std::string id;
  std::string title;
  std::string note;
  std::string unit;
  Quantity quantity = Quantity::kNumber;
  bool starts_at_zero = false;
  bool may_be_logarithmic = false;
  bool is_smooth = false;  // needs no moving mean
};

// A line for each run: the moving mean, with the values themselves behind it. The note says what
// was put together.
LineChart step_chart(const Runs& runs, double StepPoint::*number, const StepChart& about);

}  // namespace molora
