#include "report/timeline.h"

#include <algorithm>

#include <fmt/format.h>

#include "report/axis_scale.h"
#include "report/html_text.h"

namespace molora {

namespace {

constexpr size_t kLaneHeight = 30;
constexpr size_t kMostMarks = 200;

const char* path_of(MarkShape shape) {
  switch (shape) {
    case MarkShape::kCross:
      return "<path class=\"mark cross\" d=\"M-5 -5L5 5M-5 5L5 -5\"/>";
    case MarkShape::kSquare:
      return "<path class=\"mark square\" d=\"M-4.5 -4.5H4.5V4.5H-4.5Z\"/>";
    case MarkShape::kCircle:
      return "<path class=\"mark circle\" d=\"M-4.5 0A4.5 4.5 0 1 1 4.5 0A4.5 4.5 0 1 1 -4.5 "
             "0Z\"/>";
    case MarkShape::kTriangle:
      return "<path class=\"mark triangle\" d=\"M0 -5.5L5.5 4.5H-5.5Z\"/>";
  }
  return "";
}

size_t marks_apart(const TimelineLane& lane) {
  return std::max<size_t>(1, (lane.marks.size() + kMostMarks - 1) / kMostMarks);
}

std::string lane_svg(const TimelineLane& lane, size_t number, const AxisScale& steps) {
  const size_t middle = kLaneHeight * number + kLaneHeight / 2;
  std::string svg = fmt::format(
      "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{0}\" y2=\"{0}\"/><text class=\"tick\" "
      "x=\"-10\" y=\"{1}\" text-anchor=\"end\">{2}</text>\n",
      middle, middle + 4, html_escaped(lane.name));
  const size_t every = marks_apart(lane);
  for (size_t i = 0; i < lane.marks.size(); i += every) {
    const TimelineMark& mark = lane.marks[i];
    svg += fmt::format(
        "<svg x=\"{:.2f}%\" y=\"{}\" width=\"1\" height=\"1\" "
        "overflow=\"visible\"><title>{}</title>{}"
        "</svg>\n",
        100 * steps.position(static_cast<double>(mark.step)), middle, html_escaped(mark.text),
        path_of(lane.shape));
  }
  return svg;
}

std::string axis_svg(const AxisScale& steps, size_t top) {
  std::string svg;
  size_t number = 0;
  for (const Tick& tick : steps.ticks()) {
    const double at = 100 * steps.position(tick.value);
    svg += fmt::format(
        "<line class=\"grid-tick\" x1=\"{0:.2f}%\" x2=\"{0:.2f}%\" y1=\"{1}\" y2=\"{2}\"/><text "
        "class=\"tick{3}\" x=\"{0:.2f}%\" y=\"{4}\" text-anchor=\"{5}\">{6}</text>\n",
        at, top, top + 5, number++ % 2 == 1 ? " wide-only" : "", top + 19,
        at > 97 ? "end" : "middle", html_escaped(tick.text));
  }
  return svg +
         fmt::format("<text class=\"unit\" x=\"100%\" y=\"{}\" text-anchor=\"end\">step</text>\n",
                     top + 34);
}

std::string description(const Timeline& timeline) {
  std::string text;
  for (const TimelineLane& lane : timeline.lanes) {
    text += fmt::format("{}: {}. ", lane.name, lane.marks.size());
  }
  return text;
}

}  // namespace

std::string timeline_html(const Timeline& timeline) {
  constexpr int kTicks = 8;
  const AxisScale steps = AxisScale::steps(0, static_cast<double>(timeline.last_step), kTicks);
  std::string svg;
  std::string hints;
  for (size_t i = 0; i < timeline.lanes.size(); ++i) {
    svg += lane_svg(timeline.lanes[i], i, steps);
    const size_t every = marks_apart(timeline.lanes[i]);
    if (every == 1) continue;
    hints += fmt::format("<p class=\"hint\">{}: one mark for every {}.</p>\n",
                         html_escaped(timeline.lanes[i].name), every);
  }
  const size_t bottom = kLaneHeight * timeline.lanes.size();
  return fmt::format(
      "<figure class=\"card wide timeline\" id=\"{0}\">\n<figcaption>{1}</figcaption>\n<p "
      "class=\"note\">{2}</p>\n<div class=\"plot\"><svg class=\"long-labels\" role=\"img\" "
      "aria-labelledby=\"{0}-t {0}-d\" height=\"{3}\"><title id=\"{0}-t\">{1}</title><desc "
      "id=\"{0}-d\">{4}</desc>\n{5}{6}</svg></div>\n{7}</figure>\n",
      timeline.id, html_escaped(timeline.title), html_escaped(timeline.note), bottom + 40,
      html_escaped(description(timeline)), svg, axis_svg(steps, bottom), hints);
}

}  // namespace molora
