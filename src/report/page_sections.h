// The sections of a report page, in the order in which they are read. Each gives its HTML, "" when
// no run has anything for it.
#pragma once

#include <string>
#include <vector>

#include "report/run_record.h"

namespace molora {

using Runs = std::vector<RunRecord>;

// Name, state, what was trained, and the numbers at the end.
std::string header_section(const Runs& runs);
// What could not be read.
std::string problems_section(const Runs& runs);
// Training and held-out loss, learning rate, gradient norm.
std::string training_section(const Runs& runs);
// Accuracy with intervals, and loss, of each task.
std::string tasks_section(const Runs& runs);
// Which experts are used: by layer, over time, by task.
std::string experts_section(const Runs& runs);
// Tokens a second, time of a step, ranks side by side, bytes by collective.
std::string speed_section(const Runs& runs);
// Faults, restarts, checkpoints.
std::string events_section(const Runs& runs);
// The configurations.
std::string settings_section(const Runs& runs);

// <section> with a heading around `content`; "" around nothing.
std::string section_html(const std::string& id, const std::string& heading,
                         const std::string& content);
// The name of a run with its line sample, as a heading between the charts of several runs; "" for
// one run.
std::string run_heading(const Runs& runs, size_t run);

// "12:05", "3:25:09", "2d 03h"; "-" when it is not finite.
std::string time_span_text(double seconds);

}  // namespace molora
