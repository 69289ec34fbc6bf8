#include "report/metrics_events.h"

#include <chrono>
#include <cmath>
#include <string>
#include <system_error>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "report/line_follower.h"
#include "report/metrics_scalars.h"

namespace molora {

namespace {

using nlohmann::json;

// Calls `use` with every line that is one of a run's.
template <typename Use>
void for_each_line(const std::filesystem::path& path, const Use& use) {
  LineFollower follower(path);
  follower.read({.on_line =
                     [&](const std::string& text) {
                       const json line = json::parse(text, nullptr, /*allow_exceptions=*/false);
                       if (!line.is_object()) return;
                       const auto step = line.find("step");
                       if (step == line.end() || !step->is_number_integer()) return;
                       use(line, step->get<int64_t>());
                     },
                 .on_restart = [] {}});
}

double seconds_of(const json& line) {
  const json::json_pointer place("/timing/seconds");
  if (!line.contains(place)) return 0.0;
  const json& seconds = line.at(place);
  return seconds.is_number() ? seconds.get<double>() : 0.0;
}

double last_change(const std::filesystem::path& path) {
  std::error_code error;
  const auto time = std::filesystem::last_write_time(path, error);
  if (error) throw IoError(fmt::format("{}: {}", path.string(), error.message()));
  const auto since = std::chrono::file_clock::to_sys(time).time_since_epoch();
  return std::chrono::duration<double>(since).count();
}

}  // namespace

void append_metrics(const std::filesystem::path& metrics, EventFile& events) {
  double time = last_change(metrics);
  for_each_line(metrics, [&](const json& line, int64_t) { time -= seconds_of(line); });
  for_each_line(metrics, [&](const json& line, int64_t step) {
    time += seconds_of(line);
    events.append(step, time, metrics_scalars(line));
  });
}

}  // namespace molora
