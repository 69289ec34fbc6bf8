// Lines for the person who has started a run, and the bar below them.
//
// Nothing here blocks: a terminal that is held (Ctrl-S), or a reader of our pipe that has stopped,
// must not stop the run. Lines wait; when too many do, the newest are left out and counted.
#pragma once

#include <string>
#include <string_view>

namespace molora {

class TerminalOutput {
 public:
  // `descriptor` must outlive it. Bars are drawn on terminals only.
  TerminalOutput(int descriptor, bool is_terminal);
  ~TerminalOutput();
  TerminalOutput(const TerminalOutput&) = delete;
  TerminalOutput& operator=(const TerminalOutput&) = delete;
  TerminalOutput(TerminalOutput&&) = delete;
  TerminalOutput& operator=(TerminalOutput&&) = delete;

  // One line, without its end.
  void add_line(std::string_view line);
  // The bar is this from now on; "" takes it away.
  void set_bar(std::string_view text);

  int descriptor() const { return descriptor_; }
  // Whether something waits to be written.
  bool has_output() const { return !waiting_.empty(); }
  // Writes what can be written now.
  void write_some();
  // ... and waits for the rest, for so long.
  void flush(double max_seconds);

 private:
  void put(std::string_view text);

  int descriptor_;
  bool is_terminal_;
  std::string waiting_;
  std::string bar_;
  size_t left_out_ = 0;  // lines
};

}  // namespace molora
