// The report command: runs as a page for people, or as event files for TensorBoard.
#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "io/file.h"
#include "report/event_file.h"
#include "report/metrics_events.h"
#include "report/report_page.h"
#include "watch/reason_file.h"
#include "worker/commands.h"
#include "worker/console.h"
#include "worker/read_run.h"
#include "worker/run_folder.h"

namespace molora {

namespace {

// Runs of the same name are told apart by the paths that they were asked for by.
void name_apart(std::vector<RunRecord>& runs) {
  std::map<std::string, int> count;
  for (const RunRecord& run : runs) ++count[run.name];
  for (RunRecord& run : runs) {
    if (count[run.name] > 1) run.name = run.folder;
  }
}

void write_page(const ReportArguments& arguments) {
  std::vector<RunRecord> runs;
  for (const auto& folder : arguments.runs) runs.push_back(read_run(folder));
  name_apart(runs);
  const std::filesystem::path output =
      arguments.output.empty() ? arguments.runs.front() / "report.html" : arguments.output;
  const std::string page =
      report_page(runs, {.time = utc_time_text(), .program = "molora " MOLORA_VERSION});
  write_file_atomic(output, page);
  print(output.string() + "\n");
}

// Several runs lie side by side, each in a folder of its name: TensorBoard shows them as such.
void write_events(const ReportArguments& arguments) {
  std::vector<RunRecord> runs;
  for (const auto& folder : arguments.runs) runs.push_back(read_run(folder));
  name_apart(runs);
  for (size_t i = 0; i < runs.size(); ++i) {
    const std::filesystem::path metrics = RunFolder(arguments.runs[i]).metrics();
    if (!std::filesystem::exists(metrics)) {
      throw ConfigError(fmt::format("{}: there are no metrics yet", metrics.string()));
    }
    std::string name = runs[i].name;
    std::replace(name.begin(), name.end(), '/', '_');
    const std::filesystem::path folder =
        runs.size() == 1 ? arguments.tensorboard : arguments.tensorboard / name;
    // Step 0 on: what an earlier conversion has written there no longer counts.
    EventFile events(folder, 0);
    append_metrics(metrics, events);
    events.sync();
    print(events.path().string() + "\n");
  }
}

}  // namespace

ExitCode run_report(const ReportArguments& arguments) {
  if (arguments.tensorboard.empty() || !arguments.output.empty()) write_page(arguments);
  if (!arguments.tensorboard.empty()) write_events(arguments);
  return ExitCode::kDone;
}

}  // namespace molora
