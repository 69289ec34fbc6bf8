// Horizontal bars in groups, as SVG in an HTML figure: results by task, memory and time by rank.
#pragma once

#include <string>
#include <vector>

#include "report/run_log.h"

namespace molora {

struct Bar {
  std::string name;  // of a run, where a group has several; else ""
  size_t slot = 0;   // of the palette
  double value = 0.0;
  double rest = 0.0;       // drawn behind the value, hatched
  double low = kNoNumber;  // of the interval; NaN: none
  double high = kNoNumber;
  double before = kNoNumber;  // a ring; NaN: none
  double chance = kNoNumber;  // a dashed mark; NaN: none
  std::string text;           // beside it
  std::string detail;         // ... in small letters
};

struct BarGroup {
  std::string label;   // of a task or rank
  std::string detail;  // "50 questions"
  std::vector<Bar> bars;
};

struct BarChart {
  std::string id;
  std::string title;
  std::string note;
  double most = 1.0;  // where the track ends
  std::vector<BarGroup> groups;
  // What the parts of a bar are, for the legend; "" for parts that do not occur.
  std::string value_name;
  std::string rest_name;
  std::string interval_name;
  std::string before_name;
  std::string chance_name;
  std::string empty_text = "No values.";
};

std::string bar_chart_html(const BarChart& chart);

}  // namespace molora
