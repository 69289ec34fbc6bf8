#include "report/report_page.h"

#include <array>

#include <fmt/format.h>

#include "base/check.h"
#include "report/html_text.h"
#include "report/page_sections.h"
#include "report/page_style.h"

namespace molora {

namespace {

// Works without a script where the browser knows :has(); elsewhere the page follows the system.
constexpr char kThemeChoice[] =
    "<fieldset class=\"theme\"><legend>Colours</legend>"
    "<label><input type=\"radio\" name=\"theme\" id=\"theme-auto\" checked>as the system</label>"
    "<label><input type=\"radio\" name=\"theme\" id=\"theme-light\">light</label>"
    "<label><input type=\"radio\" name=\"theme\" id=\"theme-dark\">dark</label></fieldset>\n";

std::string title_of(const Runs& runs) {
  if (runs.size() == 1) return runs.front().name;
  std::string names;
  for (const RunRecord& run : runs) names += (names.empty() ? "" : ", ") + run.name;
  return shortened(names, 80);
}

struct Part {
  const char* id;
  const char* name;
  std::string (*make)(const Runs&);
};

constexpr std::array<Part, 6> kParts = {{{"training", "Training", training_section},
                                         {"tasks", "Tasks", tasks_section},
                                         {"experts", "Experts", experts_section},
                                         {"speed", "Speed", speed_section},
                                         {"events", "Events", events_section},
                                         {"settings", "Configuration", settings_section}}};

}  // namespace

std::string report_page(const Runs& runs, const PageStamp& stamp) {
  MOLORA_CHECK(!runs.empty());
  std::string links;
  std::string sections;
  for (const Part& part : kParts) {
    const std::string html = part.make(runs);
    if (html.empty()) continue;
    links += fmt::format("<a href=\"#{}\">{}</a> ", part.id, part.name);
    sections += html;
  }
  std::string page = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
      "name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta "
      "name=\"color-scheme\" content=\"light dark\">\n<title>{} - molora report</title>\n",
      html_escaped(title_of(runs)));
  page += "<style>\n" + page_style() +
          "</style>\n</head>\n<body>\n<div class=\"top\"><nav "
          "aria-label=\"Sections\">" +
          links + "</nav>" + kThemeChoice + "</div>\n<main>\n";
  page += header_section(runs) + problems_section(runs) + sections;
  page += fmt::format(
      "</main>\n<footer>Made {} by {} from metrics.jsonl and what else lies in the run's folder. "
      "Step times and tokens a second are of rank 0's clock.</footer>\n",
      html_escaped(stamp.time), html_escaped(stamp.program));
  return page + "<script>\n" + page_script() + "</script>\n</body>\n</html>\n";
}

}  // namespace molora
