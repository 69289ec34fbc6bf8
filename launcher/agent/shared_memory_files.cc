#include "launcher/agent/shared_memory_files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>
#include <string_view>

namespace molora {

namespace {

constexpr std::string_view kFolder = "/dev/shm/";

// The path of a line of /proc/PID/maps, "7f00-7f10 rw-s 00000000 00:19 5  /dev/shm/name", when it
// is a shared and writable mapping of a file directly in /dev/shm; "" otherwise.
std::string_view shared_file_of(std::string_view line) {
  const size_t modes = line.find(' ');
  if (modes == std::string_view::npos || line.substr(modes + 1, 2) != "rw") return {};
  if (line.substr(modes + 4, 1) != "s") return {};
  const size_t path = line.find('/', modes);
  if (path == std::string_view::npos) return {};
  const std::string_view name = line.substr(path);
  if (!name.starts_with(kFolder) || name.ends_with(" (deleted)")) return {};
  if (name.find('/', kFolder.size()) != std::string_view::npos) return {};
  return name;
}

}  // namespace

void SharedMemoryFiles::look_at(pid_t process) {
  std::ifstream lines("/proc/" + std::to_string(process) + "/maps");
  for (std::string line; std::getline(lines, line);) {
    const std::string_view path = shared_file_of(line);
    if (!path.empty()) seen_.emplace(path);
  }
}

int SharedMemoryFiles::remove() {
  int removed = 0;
  for (const std::filesystem::path& path : seen_) {
    struct stat file {};
    if (::lstat(path.c_str(), &file) != 0 || !S_ISREG(file.st_mode)) continue;
    const auto changed = std::chrono::system_clock::from_time_t(file.st_mtim.tv_sec + 1);
    if (file.st_uid != ::geteuid() || changed < made_after_) continue;
    if (::unlink(path.c_str()) == 0) ++removed;
  }
  seen_.clear();
  return removed;
}

}  // namespace molora
