#include "launcher/supervise/log_relay.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "launcher/supervise/visible_text.h"
#include "watch/reason_file.h"

namespace molora {

namespace {

constexpr size_t kMaxLineBytes = size_t{64} << 10;
constexpr char kMark = '\x1f';

}  // namespace

AppendedFile::AppendedFile(std::filesystem::path path) : path_(std::move(path)) {}

void AppendedFile::write(std::string_view text) {
  if (has_failed_) return;
  if (!file_) {
    constexpr int kFlags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
    file_ = FileDescriptor(::open(path_.c_str(), kFlags, 0666));
    if (!file_) return give_up("open", errno);
  }
  while (!text.empty()) {
    const ssize_t written = ::write(file_.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return give_up("write", errno);
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void AppendedFile::give_up(const char* what, int error) {
  has_failed_ = true;
  file_.reset();
  spdlog::warn("{}: {} failed: {}; the run goes on without this log", path_.string(), what,
               std::strerror(error));
}

LogRelay::LogRelay(const Options& options)
    : options_(options),
      err_(options.err, options.is_terminal),
      out_(options.out, /*is_terminal=*/false),
      is_one_terminal_(options.is_terminal && ::isatty(options.out) == 1),
      launcher_file_(options.folder / "launcher.log") {}

void LogRelay::begin_attempt(int attempt, int world_size) {
  attempt_ = attempt;
  world_size_ = world_size;
  launcher_words_.clear();
  launcher_file_.write(fmt::format("--- start {}, {} ---\n", attempt, utc_time_text()));
}

void LogRelay::begin_rank(const AgentHello& hello) {
  log_of(static_cast<int>(hello.rank()))
      .file.write(fmt::format("--- start {}, {}, host {}, process {} ---\n", attempt_,
                              utc_time_text(), hello.host(), hello.pid()));
}

void LogRelay::add(int rank, const LogLines& lines) {
  RankLog& log = log_of(rank);
  std::string& partial = log.partial[lines.stream()];
  partial += lines.text();
  std::string for_file;
  std::string_view rest = partial;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    if (end == std::string_view::npos && rest.size() < kMaxLineBytes) break;
    const size_t count = std::min(end, kMaxLineBytes);
    for_file += take_line(rank, lines.stream(), rest.substr(0, count));
    rest.remove_prefix(count == end ? count + 1 : count);
  }
  partial = std::string(rest);
  log.file.write(for_file);
}

void LogRelay::add_launcher(std::string_view text) {
  launcher_file_.write(text);
  if (launcher_words_.size() < kMaxLineBytes) launcher_words_ += text;
}

void LogRelay::show_launcher_words() {
  std::string_view rest = launcher_words_;
  while (!rest.empty()) {
    const size_t end = std::min(rest.find('\n'), rest.size());
    err_.add_line(visible_text(rest.substr(0, end)));
    rest.remove_prefix(std::min(end + 1, rest.size()));
  }
  launcher_words_.clear();
}

void LogRelay::end_attempt() {
  for (auto& [rank, log] : ranks_) {
    for (const LogLines::Stream stream : {LogLines::out, LogLines::err}) {
      const std::string last = std::exchange(log.partial[stream], {});
      if (!last.empty()) log.file.write(take_line(rank, stream, last));
    }
  }
  err_.set_bar("");
  constexpr double kMaxSeconds = 1.0;
  err_.flush(kMaxSeconds);
  out_.flush(kMaxSeconds);
}

std::vector<pollfd> LogRelay::wanted() const {
  std::vector<pollfd> wanted;
  for (const TerminalOutput* output : {&err_, &out_}) {
    if (output->has_output()) wanted.push_back({output->descriptor(), POLLOUT, 0});
  }
  return wanted;
}

void LogRelay::write_some() {
  err_.write_some();
  out_.write_some();
}

LogRelay::RankLog& LogRelay::log_of(int rank) {
  return ranks_.try_emplace(rank, options_.folder / fmt::format("rank-{}.log", rank)).first->second;
}

std::string LogRelay::take_line(int rank, LogLines::Stream stream, std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  char mark = 0;
  if (stream == LogLines::err && line.size() >= 2 && line[0] == kMark) {
    mark = line[1];
    line.remove_prefix(2);
  }
  std::string text = visible_text(line);
  if (mark == 'p') {
    err_.set_bar(text);
    return {};
  }
  if (mark != 'q') show(rank, stream, text);
  return text + "\n";
}

void LogRelay::show(int rank, LogLines::Stream stream, std::string_view text) {
  TerminalOutput& to = stream == LogLines::out && !is_one_terminal_ ? out_ : err_;
  const bool says_rank = text.find("[rank") != std::string_view::npos;
  // What a command prints as its result is for other programs as well: it stays as it is.
  if (world_size_ > 1 && !says_rank && stream == LogLines::err) {
    to.add_line(fmt::format("[rank {}] {}", rank, text));
  } else {
    to.add_line(text);
  }
}

}  // namespace molora
