// metrics.jsonl: one JSON object a line, appended while the run goes on.
//
// Every line has "type" ("run", "step", "eval", "ranks", "routers", "alarm") and "step"; all fields
// but those inside "timing" are functions of the run alone, so that a stopped and resumed run
// leaves the same lines, timing aside, as one that was never stopped. One process writes it (rank
// 0); readers may follow it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace molora {

class MetricsFile {
 public:
  // Opens `path` for a run that goes on after `steps_done` steps: lines of later steps, and a last
  // line that a crash cut short, are removed; 0 removes everything. The remaining lines replace the
  // file atomically. Throws: IoError; DataError when a line to keep is not JSON (with file:line).
  MetricsFile(const std::filesystem::path& path, int64_t steps_done);
  ~MetricsFile();
  MetricsFile(const MetricsFile&) = delete;
  MetricsFile& operator=(const MetricsFile&) = delete;
  MetricsFile(MetricsFile&&) = delete;
  MetricsFile& operator=(MetricsFile&&) = delete;

  // Whether it held no line when it was opened.
  bool is_empty() const { return is_empty_; }

  // Appends one line and hands it to the operating system. `json_object` has no line break.
  // Throws: IoError with the path.
  void append(const std::string& json_object);

  // Returns when everything appended is on the device; called before a checkpoint commits, so that
  // a resumed run finds the lines of all steps before it. Throws: IoError.
  void sync();

 private:
  std::filesystem::path path_;
  bool is_empty_ = true;
  int fd_ = -1;
};

}  // namespace molora
