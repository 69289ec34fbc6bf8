// The configuration section: what differs, what is not at its default, and all of it.
#include <algorithm>

#include <fmt/format.h>

#include "report/html_text.h"
#include "report/line_chart.h"
#include "report/page_sections.h"

namespace molora {

namespace {

const std::string* value_of(const std::vector<Field>& fields, const std::string& name) {
  const auto found = std::find_if(fields.begin(), fields.end(),
                                  [&](const Field& field) { return field.name == name; });
  return found == fields.end() ? nullptr : &found->value;
}

// Names of fields that not all runs have the same value of, in the order of the schema.
std::vector<std::string> differing_fields(const Runs& runs) {
  std::vector<std::string> names;
  for (const RunRecord& run : runs) {
    for (const Field& field : run.settings) {
      const bool is_known = std::find(names.begin(), names.end(), field.name) != names.end();
      const bool is_same = std::all_of(runs.begin(), runs.end(), [&](const RunRecord& other) {
        const std::string* value = value_of(other.settings, field.name);
        return other.settings.empty() || (value != nullptr && *value == field.value);
      });
      if (!is_known && !is_same) names.push_back(field.name);
    }
  }
  return names;
}

std::string difference_table(const Runs& runs) {
  const std::vector<std::string> names = differing_fields(runs);
  if (names.empty()) {
    return "<p class=\"nothing\">The configurations are the same.</p>\n";
  }
  std::string head;
  for (size_t run = 0; run < runs.size(); ++run) {
    head += fmt::format("<th scope=\"col\">{}{}</th>", line_sample_html(run),
                        html_escaped(runs[run].name));
  }
  std::string rows;
  for (const std::string& name : names) {
    rows += fmt::format("<tr><th scope=\"row\"><code>{}</code></th>", html_escaped(name));
    for (const RunRecord& run : runs) {
      const std::string* value = value_of(run.settings, name);
      rows +=
          fmt::format("<td><code>{}</code></td>", value == nullptr ? "-" : html_escaped(*value));
    }
    rows += "</tr>\n";
  }
  return fmt::format(
      "<figure class=\"card wide\"><figcaption>What differs</figcaption>\n<div "
      "class=\"scroll\"><table><thead><tr><th scope=\"col\">Field</th>{}</tr></thead>\n<tbody>{}"
      "</tbody></table></div></figure>\n",
      head, rows);
}

std::string field_rows(const std::vector<Field>& fields) {
  std::string rows;
  for (const Field& field : fields) {
    rows += fmt::format("<tr><th scope=\"row\"><code>{}</code></th><td><code>{}</code></td></tr>\n",
                        html_escaped(field.name), html_escaped(field.value));
  }
  return rows;
}

std::string change_table(const RunRecord& run) {
  if (run.changes.empty()) return {};
  return fmt::format(
      "<figure class=\"card wide\"><figcaption>Not at its default</figcaption>\n<div "
      "class=\"scroll\"><table><tbody>{}</tbody></table></div></figure>\n",
      field_rows(run.changes));
}

}  // namespace

std::string settings_section(const Runs& runs) {
  std::string html;
  const bool has_any = std::any_of(runs.begin(), runs.end(),
                                   [](const RunRecord& run) { return !run.settings.empty(); });
  if (!has_any) return {};
  if (runs.size() > 1) html += difference_table(runs);
  for (size_t run = 0; run < runs.size(); ++run) {
    if (runs[run].settings.empty()) continue;
    if (runs.size() == 1) html += change_table(runs[run]);
    html += fmt::format(
        "<details class=\"card wide\"><summary>All of {}config.yaml</summary><div "
        "class=\"scroll\"><table><tbody>{}</tbody></table></div></details>\n",
        runs.size() > 1 ? html_escaped(runs[run].name) + "/" : std::string(),
        field_rows(runs[run].settings));
  }
  return section_html("settings", "Configuration", html);
}

}  // namespace molora
