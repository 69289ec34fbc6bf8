#include "worker/read_run.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <fstream>
#include <string>
#include <system_error>
#include <utility>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/error.h"
#include "base/unit_text.h"
#include "checkpoint/step_folder.h"
#include "config/config_difference.h"
#include "config/load_config.h"
#include "io/file.h"
#include "report/line_follower.h"
#include "watch/reason_file.h"
#include "worker/run_folder.h"

namespace molora {

namespace {

constexpr uint64_t kMostConfigBytes = uint64_t{1} << 20;
constexpr uint64_t kMostFaultBytes = uint64_t{1} << 26;

// Runs a part of the reading; what it throws for is told on the page.
template <typename Part>
void try_to_read(RunRecord& record, const Part& part) {
  try {
    part();
  } catch (const Error& error) {
    record.problems.emplace_back(error.what());
  } catch (const std::filesystem::filesystem_error& error) {
    record.problems.emplace_back(error.what());
  }
}

std::string experts_text(const AdapterConfig& adapter) {
  if (adapter.num_experts() == 1) return fmt::format("LoRA of rank {}", adapter.lora_rank());
  return fmt::format("{} experts of LoRA rank {}, {} for each token", adapter.num_experts(),
                     adapter.lora_rank(), adapter.experts_per_token());
}

std::string batch_text(const RunConfig& config) {
  return fmt::format("{} rows of up to {} tokens a step", config.train().global_batch_size(),
                     config.data().max_length());
}

std::string layout_text(const ParallelConfig& parallel) {
  return fmt::format("tensor parallel {}, expert parallel {}", parallel.tensor_parallel(),
                     parallel.expert_parallel());
}

std::string data_text(const RunConfig& config) {
  std::string names;
  for (const DataSource& source : config.data().train()) {
    names += (names.empty() ? "" : ", ") + std::filesystem::path(source.path()).filename().string();
  }
  return names;
}

std::string base_text(const ModelConfig& model) {
  std::filesystem::path path(model.path());
  if (path.filename().empty()) path = path.parent_path();
  std::string text =
      path.filename().string() + ", " + ModelConfig::Precision_Name(model.precision());
  if (model.quantization() != ModelConfig::none) {
    text += ", " + ModelConfig::Quantization_Name(model.quantization());
  }
  return text;
}

void read_config(const RunFolder& folder, RunRecord& record) {
  if (!std::filesystem::exists(folder.config())) return;
  const std::string text = read_file(folder.config(), kMostConfigBytes);
  const RunConfig config =
      parse_config({{folder.config().string(), text}}, {}, ConfigUse::kModel).config;
  record.summary = {{"Base", base_text(config.model())},
                    {"Adapter", experts_text(config.adapter())},
                    {"Data", data_text(config)},
                    {"Batch", batch_text(config)},
                    {"Learning rate", fmt::format("{}", config.train().learning_rate())},
                    {"Layout", layout_text(config.parallel())}};
  for (const ConfigValue& value : config_values(config)) {
    record.settings.push_back({value.name, value.text});
  }
  for (const ConfigChange& change : config_changes(RunConfig(), config)) {
    record.changes.push_back({change.name, change.after});
  }
}

void read_metrics(const RunFolder& folder, RunRecord& record) {
  LineFollower follower(folder.metrics());
  follower.read({.on_line = [&](const std::string& line) { record.log.add_line(line); },
                 .on_restart = [&] { record.log.clear(); }});
  if (record.log.num_bad_lines() > 0) {
    record.problems.push_back(fmt::format(
        "{}: {} of its lines are no metrics lines, the first is line {}; they are left out",
        folder.metrics().string(), record.log.num_bad_lines(), record.log.first_bad_line()));
  }
  if (follower.has_partial_line()) {
    record.problems.push_back(
        fmt::format("{}: its last line is cut short and left out", folder.metrics().string()));
  }
}

std::string utc_text(std::filesystem::file_time_type time) {
  const auto since = std::chrono::file_clock::to_sys(time);
  const auto seconds = std::chrono::time_point_cast<std::chrono::seconds>(since);
  return fmt::format("{:%Y-%m-%d %H:%M:%S}", fmt::gmtime(std::chrono::system_clock::to_time_t(
                                                 std::chrono::system_clock::time_point(seconds))));
}

uint64_t bytes_in(const std::filesystem::path& folder) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
    std::error_code ignored;
    const uint64_t size = entry.file_size(ignored);
    if (!ignored) bytes += size;
  }
  return bytes;
}

// The step at the beginning of the name of any folder of checkpoints.
int64_t step_in_name(const std::string& name) {
  const std::string whole = name.substr(0, name.find('.'));
  return step_of_folder(whole).value_or(0);
}

void read_checkpoints(const RunFolder& folder, RunRecord& record) {
  std::error_code missing;
  std::filesystem::directory_iterator entries(folder.checkpoints(), missing);
  if (missing) return;
  for (const auto& entry : entries) {
    const std::string name = entry.path().filename().string();
    CheckpointNote note{.step = step_in_name(name), .name = name};
    if (is_attempt_folder(name)) {
      note.state = CheckpointNote::State::kUnfinished;
    } else if (is_damaged_folder(name)) {
      note.state = CheckpointNote::State::kDamaged;
    } else if (!step_of_folder(name)) {
      continue;
    }
    note.bytes = bytes_in(entry.path());
    std::error_code error;
    const auto time = std::filesystem::last_write_time(entry.path(), error);
    if (!error) note.time = utc_text(time);
    record.checkpoints.push_back(std::move(note));
  }
  std::sort(record.checkpoints.begin(), record.checkpoints.end(),
            [](const CheckpointNote& a, const CheckpointNote& b) {
              return std::pair(a.step, a.name) < std::pair(b.step, b.name);
            });
}

// Whether a process of this machine has an flock on the file. Asking the kernel's list, where an
// attempt to lock could come in the way of a run that starts at this moment.
bool is_locked(const std::filesystem::path& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) return false;
  const std::string place =
      fmt::format(" {:02x}:{:02x}:{} ", ::major(file.st_dev), ::minor(file.st_dev), file.st_ino);
  std::ifstream locks("/proc/locks");
  for (std::string line; std::getline(locks, line);) {
    if (line.find("FLOCK") != std::string::npos && line.find(place) != std::string::npos) {
      return true;
    }
  }
  return false;
}

// A run on another machine shows by what it writes; its slowest step says how often.
bool was_written_lately(const std::filesystem::path& path, const RunLog& log) {
  std::error_code error;
  const auto time = std::filesystem::last_write_time(path, error);
  if (error) return false;
  double slowest = 0.0;
  for (const StepPoint& step : log.steps()) slowest = std::max(slowest, step.seconds);
  const std::chrono::duration<double> age = std::filesystem::file_time_type::clock::now() - time;
  constexpr double kLeast = 10;
  return age.count() < kLeast + 3 * slowest;
}

}  // namespace

void read_faults_of(const std::filesystem::path& folder, RunRecord& record) {
  record.faults.clear();
  record.reason.clear();
  if (std::filesystem::exists(faults_path(folder))) {
    int64_t num_bad = 0;
    record.faults = read_faults(read_file(faults_path(folder), kMostFaultBytes), num_bad);
    if (num_bad > 0) {
      record.problems.push_back(fmt::format("{}: {} lines tell no fault; they are left out",
                                            faults_path(folder).string(), num_bad));
    }
  }
  if (!std::filesystem::exists(reason_path(folder))) return;
  FaultNote reason;
  if (read_fault(read_file(reason_path(folder), kMostFaultBytes), reason)) {
    record.reason.push_back(std::move(reason));
  } else {
    record.problems.push_back(reason_path(folder).string() + ": tells no reason of an end");
  }
}

RunState state_of(const std::filesystem::path& folder, const RunRecord& record) {
  const RunFolder files(folder);
  const RunLog& log = record.log;
  const bool is_whole = log.num_steps() > 0 && log.last_step() >= log.num_steps();
  if (is_locked(files.lock())) return RunState::kRunning;
  if (!record.reason.empty()) return RunState::kEnded;
  if (is_whole) return RunState::kDone;
  if (was_written_lately(files.metrics(), log)) return RunState::kRunning;
  return log.steps().empty() ? RunState::kEmpty : RunState::kStopped;
}

RunRecord read_run(const std::filesystem::path& folder) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    throw ConfigError(
        fmt::format("{}: there is no such folder; expected the folder of a run (its output_dir)",
                    folder.string()));
  }
  RunRecord record;
  record.folder = folder.string();
  const std::filesystem::path whole = std::filesystem::weakly_canonical(folder, error);
  record.name = whole.filename().empty() ? whole.parent_path().filename().string()
                                         : whole.filename().string();
  const RunFolder files(folder);
  try_to_read(record, [&] { read_config(files, record); });
  try_to_read(record, [&] { read_metrics(files, record); });
  try_to_read(record, [&] { read_faults_of(folder, record); });
  try_to_read(record, [&] { read_checkpoints(files, record); });
  record.state = state_of(folder, record);
  return record;
}

}  // namespace molora
