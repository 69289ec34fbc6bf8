#include "worker/terminal_screen.h"

#include <langinfo.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <clocale>
#include <string_view>

#include "base/error.h"
#include "worker/console.h"

namespace molora {

namespace {

// xterm's sequences, which every terminal in use knows: the other screen, no cursor; and back.
constexpr std::string_view kEnter = "\033[?1049h\033[?25l";
constexpr std::string_view kLeave = "\033[?25h\033[?1049l";
constexpr std::string_view kHome = "\033[H";
constexpr std::string_view kRestOfLine = "\033[K";
constexpr std::string_view kRestOfScreen = "\033[J";

}  // namespace

TerminalScreen::TerminalScreen() { print(kEnter); }

TerminalScreen::~TerminalScreen() {
  try {
    print(kLeave);
  } catch (const IoError&) {  // the terminal is gone, and with it what was to be cleaned
  }
}

void TerminalScreen::draw(const std::vector<std::string>& lines) {
  std::string text(kHome);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) text += "\r\n";
    text.append(lines[i]).append(kRestOfLine);
  }
  print(text.append(kRestOfScreen));
}

bool stdout_is_terminal() { return ::isatty(STDOUT_FILENO) == 1; }

FrameSize terminal_size() {
  winsize size{};
  if (::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return {};
  }
  return {size.ws_col, size.ws_row};
}

Glyphs terminal_glyphs() {
  // Of characters alone: numbers are written as ever.
  if (std::setlocale(LC_CTYPE, "") == nullptr) return Glyphs::kAscii;
  const std::string_view codes = ::nl_langinfo(CODESET);
  return codes == "UTF-8" ? Glyphs::kUnicode : Glyphs::kAscii;
}

}  // namespace molora
