#include "launcher/supervise/terminal_output.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

#include <fmt/format.h>

#include "base/log.h"

namespace molora {

namespace {

constexpr size_t kMaxWaitingBytes = size_t{1} << 20;
// No more at once than a pipe takes without blocking, or a terminal soon.
constexpr size_t kPieceBytes = 1024;
constexpr char kErase[] = "\r\033[K";

bool can_write(int descriptor, int wait_ms) {
  pollfd ready{descriptor, POLLOUT, 0};
  return ::poll(&ready, 1, wait_ms) == 1;
}

}  // namespace

TerminalOutput::TerminalOutput(int descriptor, bool is_terminal)
    : descriptor_(descriptor), is_terminal_(is_terminal) {
  if (!is_terminal_) return;
  // This process's own log lines go there too.
  set_log_line_hooks({[](void* owner) {
                        auto& self = *static_cast<TerminalOutput*>(owner);
                        if (!self.bar_.empty()) self.waiting_ += kErase;
                        self.flush(1.0);
                      },
                      [](void* owner) {
                        auto& self = *static_cast<TerminalOutput*>(owner);
                        self.waiting_ += self.bar_;
                        self.write_some();
                      },
                      this});
}

TerminalOutput::~TerminalOutput() {
  if (is_terminal_) set_log_line_hooks({});
  if (!bar_.empty()) waiting_ += '\n';
  flush(1.0);
}

void TerminalOutput::add_line(std::string_view line) {
  if (waiting_.size() > kMaxWaitingBytes) {
    ++left_out_;
    return;
  }
  if (left_out_ > 0) {
    const size_t count = std::exchange(left_out_, 0);
    put(fmt::format("({} lines are not shown here; they are in logs/)", count));
  }
  put(line);
}

void TerminalOutput::put(std::string_view text) {
  if (!bar_.empty()) waiting_ += kErase;
  waiting_ += text;
  waiting_ += '\n';
  waiting_ += bar_;
}

void TerminalOutput::set_bar(std::string_view text) {
  if (!is_terminal_ || waiting_.size() > kMaxWaitingBytes) return;
  if (!bar_.empty()) waiting_ += kErase;
  bar_ = text;
  waiting_ += bar_;
}

void TerminalOutput::write_some() {
  size_t written = 0;
  while (written < waiting_.size() && can_write(descriptor_, 0)) {
    const size_t count = std::min(kPieceBytes, waiting_.size() - written);
    const ssize_t result = ::write(descriptor_, waiting_.data() + written, count);
    if (result < 0 && errno == EINTR) continue;
    if (result < 0 && errno != EAGAIN) waiting_.clear();  // nobody is there to read it
    if (result <= 0) break;
    written += static_cast<size_t>(result);
  }
  waiting_.erase(0, written);
}

void TerminalOutput::flush(double max_seconds) {
  const auto until = std::chrono::steady_clock::now() + std::chrono::duration<double>(max_seconds);
  write_some();
  while (has_output() && std::chrono::steady_clock::now() < until) {
    constexpr int kWaitMs = 50;
    if (can_write(descriptor_, kWaitMs)) write_some();
  }
}

}  // namespace molora
