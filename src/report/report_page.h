// The picture of one run, or of several side by side: one HTML page that needs nothing else, no
// network, no fonts, no scripts. Its own script adds values under the pointer; without it the page
// shows all the same charts.
#pragma once

#include <string>
#include <vector>

#include "report/run_record.h"

namespace molora {

struct PageStamp {
  std::string time;     // when the page was made, UTC
  std::string program;  // "molora 0.1.0"
};

// The page. Whatever the runs' files hold is text on it, never markup. REQUIRES: at least one run.
std::string report_page(const std::vector<RunRecord>& runs, const PageStamp& stamp);

}  // namespace molora
