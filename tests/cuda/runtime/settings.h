// The environment of the fake run time, read once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace molora::fake_cuda {

struct Settings {
  std::vector<int> devices;     // the numbers on the machine of those that are seen
  uint64_t seed = 0;            // 0: no delays
  int64_t max_delay_us = 0;     // before a piece of work on a stream
  size_t memory_bytes = 0;      // of each device
  size_t quarantine_bytes = 0;  // freed memory that is kept to name its users
  std::string fail;             // "name:n" or "name:n:code"
};

const Settings& settings();

// A number from the environment. Ends the process where the variable holds something else.
int64_t number_from_environment(const char* name, int64_t otherwise);

}  // namespace molora::fake_cuda
