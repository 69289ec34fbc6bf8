#include "worker/console.h"

#include <cstdio>

#include "base/error.h"

namespace molora {

void print(std::string_view text) {
  const bool is_written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (!is_written || std::fflush(stdout) != 0) throw IoError("standard output cannot be written");
}

}  // namespace molora
