// What the kernel counts about this process.
#pragma once

#include <cstdint>
#include <fstream>
#include <stdexcept>
#include <string>

namespace molora::testing {

// The number after `label` in a file of /proc/self ("VmHWM:" in status, in KiB).
inline int64_t process_number(const std::string& file, const std::string& label) {
  std::ifstream stream("/proc/self/" + file);
  for (std::string word; stream >> word;) {
    int64_t number = 0;
    if (word == label && stream >> number) return number;
  }
  throw std::runtime_error("/proc/self/" + file + " has no " + label);
}

// Bytes that read calls have given to this process; touching a mapping does not count.
inline int64_t bytes_read() { return process_number("io", "rchar:"); }

}  // namespace molora::testing
