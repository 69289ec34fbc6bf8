// Standard output: what a command was asked for, and nothing else (logs go to standard error).
#pragma once

#include <string_view>

namespace molora {

// Writes and flushes. Throws: IoError when standard output is closed or full.
void print(std::string_view text);

}  // namespace molora
