// The files in /dev/shm that a process shares memory through, to be removed when it could not do so
// itself.
//
// What is taken for such a file: directly in /dev/shm, mapped shared and for writing, made after a
// given time, owned by this user. Data that somebody keeps there (a base model, say) is mapped for
// reading or was there before, and is left alone.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <set>

namespace molora {

class SharedMemoryFiles {
 public:
  explicit SharedMemoryFiles(std::chrono::system_clock::time_point made_after)
      : made_after_(made_after) {}

  // Adds those that the process has mapped now. One that is gone adds nothing.
  void look_at(pid_t process);
  // Removes all that were seen and are still there; returns how many.
  int remove();

 private:
  std::chrono::system_clock::time_point made_after_;
  std::set<std::filesystem::path> seen_;
};

}  // namespace molora
