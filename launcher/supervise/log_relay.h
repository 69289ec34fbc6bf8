// What the ranks print, on its way to people: each rank's lines to logs/rank-N.log, and all of them
// to this process's standard error and standard output.
//
//   - On the terminal a line that does not say its rank gets "[rank N] " in front, in a run of
//   many.
//   - A line of standard error that begins with 0x1f has a mark in its second byte: 'p', it is the
//     text of the progress bar (for a terminal only); 'q', it is for the file alone.
//   - What is not text is made visible (visible_text.h).
// A file that cannot be written is told once and does not stop the run. Nothing here blocks but
// writes to files.
#pragma once

#include <poll.h>

#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "launcher/supervise/terminal_output.h"
#include "launcher/system/file_descriptor.h"
#include "supervision.pb.h"

namespace molora {

// A log file that is appended to and that may fail.
class AppendedFile {
 public:
  explicit AppendedFile(std::filesystem::path path);
  void write(std::string_view text);

 private:
  void give_up(const char* what, int error);

  std::filesystem::path path_;
  FileDescriptor file_;
  bool has_failed_ = false;
};

class LogRelay {
 public:
  struct Options {
    std::filesystem::path folder;  // logs/ of the run; must be there
    bool is_terminal = false;      // standard error is one
    int out = 1;
    int err = 2;
  };
  explicit LogRelay(const Options& options);

  // A new start of the run: what was not whole lines until now ends here.
  void begin_attempt(int attempt, int world_size);
  // Puts a line into the rank's file that says what begins there.
  void begin_rank(const AgentHello& hello);
  void add(int rank, const LogLines& lines);
  // What mpirun or srun itself prints: to logs/launcher.log.
  void add_launcher(std::string_view text);
  // ... and to the terminal after all, because no rank was there to say anything.
  void show_launcher_words();
  // The last lines without an end, and the bar goes.
  void end_attempt();

  // What to poll for; empty when nothing waits.
  std::vector<pollfd> wanted() const;
  void write_some();

 private:
  struct RankLog {
    explicit RankLog(const std::filesystem::path& path) : file(path) {}
    AppendedFile file;
    std::string partial[2];  // of each stream
  };
  RankLog& log_of(int rank);
  // Returns what of the line goes into the file.
  std::string take_line(int rank, LogLines::Stream stream, std::string_view line);
  void show(int rank, LogLines::Stream stream, std::string_view text);

  Options options_;
  int attempt_ = 1;
  int world_size_ = 1;
  TerminalOutput err_;
  TerminalOutput out_;
  bool is_one_terminal_;
  std::map<int, RankLog> ranks_;
  AppendedFile launcher_file_;
  std::string launcher_words_;
};

}  // namespace molora
