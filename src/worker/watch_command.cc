// The watch command: a run on the terminal while it goes on.
#include <cmath>
#include <csignal>
#include <ctime>
#include <filesystem>
#include <optional>
#include <string>
#include <system_error>

#include <fmt/format.h>

#include "base/error.h"
#include "report/line_follower.h"
#include "report/watch_frame.h"
#include "worker/commands.h"
#include "worker/console.h"
#include "worker/read_run.h"
#include "worker/run_folder.h"
#include "worker/terminal_screen.h"

namespace molora {

namespace {

// Signals are taken where the command waits and nowhere else, so that none comes in the middle of a
// drawing. A new size of the terminal ends a wait early.
class SignalWait {
 public:
  SignalWait() {
    sigemptyset(&signals_);
    for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&signals_, signal);
    sigprocmask(SIG_BLOCK, &signals_, &before_);
  }
  ~SignalWait() { sigprocmask(SIG_SETMASK, &before_, nullptr); }
  SignalWait(const SignalWait&) = delete;
  SignalWait& operator=(const SignalWait&) = delete;
  SignalWait(SignalWait&&) = delete;
  SignalWait& operator=(SignalWait&&) = delete;

  // False when the command is to end.
  bool wait(double seconds) {
    timespec time{};
    time.tv_sec = static_cast<time_t>(seconds);
    time.tv_nsec = static_cast<long>(std::fmod(seconds, 1.0) * 1e9);
    const int signal = sigtimedwait(&signals_, nullptr, &time);
    return signal < 0 || signal == SIGWINCH;
  }

 private:
  sigset_t signals_{};
  sigset_t before_{};
};

class Watch {
 public:
  explicit Watch(const std::filesystem::path& folder)
      : folder_(folder), metrics_(RunFolder(folder).metrics()) {
    std::error_code error;
    run_.name = std::filesystem::weakly_canonical(folder, error).filename().string();
    if (run_.name.empty()) run_.name = folder.string();
    run_.folder = folder.string();
  }

  // Reads what is new.
  void look() {
    metrics_.read({.on_line = [this](const std::string& line) { run_.log.add_line(line); },
                   .on_restart =
                       [this] {
                         run_.log.clear();
                         ++num_restarts_;
                       }});
    run_.problems.clear();
    try {
      read_faults_of(folder_, run_);
    } catch (const IoError&) {  // taken away in this moment by a new start of the run
    }
    run_.state = state_of(folder_, run_);
  }

  const RunRecord& run() const { return run_; }
  // How often the metrics began again: at a restart of the run.
  int num_restarts() const { return num_restarts_; }
  bool is_over() const { return run_.state == RunState::kDone || run_.state == RunState::kEnded; }

 private:
  std::filesystem::path folder_;
  LineFollower metrics_;
  RunRecord run_;
  int num_restarts_ = 0;
};

std::string as_text(const std::vector<std::string>& lines) {
  std::string text;
  for (const std::string& line : lines) text += line + '\n';
  return text;
}

// For a pipe or a file: as much as there is.
constexpr FrameSize kWholeFrame{100, 1000};

std::string whole_frame(const Watch& watch) {
  const FrameSize size =
      stdout_is_terminal() ? FrameSize{terminal_size().columns, kWholeFrame.rows} : kWholeFrame;
  return as_text(watch_frame(watch.run(), size, terminal_glyphs()));
}

// A run that breaks is started again after a moment, in which nobody holds its folder: its end is
// believed when it has stayed for some looks.
class EndOfRun {
 public:
  bool is_believed(const Watch& watch, double every_seconds) {
    constexpr double kSeconds = 5;
    over_for_ = watch.is_over() ? over_for_ + every_seconds : 0.0;
    return watch.is_over() && (watch.run().state == RunState::kDone || over_for_ > kSeconds);
  }

 private:
  double over_for_ = 0.0;
};

// The exit code says how the watching ended, not how the run did.
void watch_on_screen(Watch& watch, double every_seconds) {
  SignalWait signals;
  EndOfRun end;
  {
    TerminalScreen screen;
    do {
      watch.look();
      screen.draw(watch_frame(watch.run(), terminal_size(), terminal_glyphs()));
    } while (!end.is_believed(watch, every_seconds) && signals.wait(every_seconds));
  }
  print(whole_frame(watch));
}

void watch_as_lines(Watch& watch, double every_seconds) {
  SignalWait signals;
  EndOfRun end;
  int64_t told_step = -1;
  size_t told_faults = 0;
  int told_restarts = 0;
  do {
    watch.look();
    const RunRecord& run = watch.run();
    if (watch.num_restarts() > told_restarts) {
      told_restarts = watch.num_restarts();
      print(fmt::format("the run goes on from step {}\n", run.log.last_step()));
    }
    for (; told_faults < run.faults.size(); ++told_faults) {
      print(fmt::format("fault: {}\n", run.faults[told_faults].sentence));
    }
    if (run.log.last_step() != told_step && !run.log.steps().empty()) {
      told_step = run.log.last_step();
      print(watch_line(run.log) + "\n");
    }
  } while (!end.is_believed(watch, every_seconds) && signals.wait(every_seconds));
  print(whole_frame(watch));
}

}  // namespace

ExitCode run_watch(const WatchArguments& arguments) {
  Watch watch(arguments.run);
  if (arguments.is_once) {
    watch.look();
    print(whole_frame(watch));
  } else if (stdout_is_terminal()) {
    watch_on_screen(watch, arguments.every_seconds);
  } else {
    watch_as_lines(watch, arguments.every_seconds);
  }
  return ExitCode::kDone;
}

}  // namespace molora
