// A lock that one process at a time can hold and that ends with it, however it ends.
#pragma once

#include <filesystem>

namespace molora {

// Held while this object lives. The file stays behind, with the holder's name in it for messages.
class FileLock {
 public:
  // Throws: IoError when another process holds it, with host and process id; IoError of the system.
  explicit FileLock(const std::filesystem::path& path);
  ~FileLock();
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;
  FileLock(FileLock&&) = delete;
  FileLock& operator=(FileLock&&) = delete;

  // False on a file system that knows no locks: then nothing keeps others away.
  bool is_locked() const { return is_locked_; }

 private:
  int descriptor_ = -1;
  bool is_locked_ = true;
};

}  // namespace molora
