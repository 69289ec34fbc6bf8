// A terminal that is drawn over in place, and left as it was found, however the command ends.
#pragma once

#include <string>
#include <vector>

#include "report/watch_frame.h"

namespace molora {

// On standard output, which must be a terminal. While it lives the terminal shows its other screen,
// without a cursor; the destructor brings back what was there before. One at a time.
class TerminalScreen {
 public:
  TerminalScreen();
  ~TerminalScreen();
  TerminalScreen(const TerminalScreen&) = delete;
  TerminalScreen& operator=(const TerminalScreen&) = delete;
  TerminalScreen(TerminalScreen&&) = delete;
  TerminalScreen& operator=(TerminalScreen&&) = delete;

  // Shows these lines and nothing else. Throws: IoError.
  void draw(const std::vector<std::string>& lines);
};

bool stdout_is_terminal();
// As it is now; 80 x 24 when the terminal does not tell.
FrameSize terminal_size();
// Whether the user's locale (LC_CTYPE) has what a sparkline is drawn with.
Glyphs terminal_glyphs();

}  // namespace molora
