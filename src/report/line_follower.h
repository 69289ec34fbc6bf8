// The lines of a file that another process appends to, replaces and cuts short.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>

namespace molora {

// Reads what is new at each call. One thread.
class LineFollower {
 public:
  // The file need not be there yet.
  explicit LineFollower(std::filesystem::path path) : path_(std::move(path)) {}
  ~LineFollower();
  LineFollower(const LineFollower&) = delete;
  LineFollower& operator=(const LineFollower&) = delete;
  LineFollower(LineFollower&&) = delete;
  LineFollower& operator=(LineFollower&&) = delete;

  struct Hooks {
    std::function<void(const std::string& line)> on_line;  // without its end
    // What came before no longer counts: the path names another file now, or a shorter one. It is
    // read from its beginning.
    std::function<void()> on_restart;
  };
  // Gives every whole line that came since the last call. A line without its end waits for it. No
  // file: nothing. Throws: IoError when the file cannot be read; what the hooks throw.
  void read(const Hooks& hooks);

  // Whether the file ends in the middle of a line, as of the last call.
  bool has_partial_line() const { return !partial_.empty(); }

 private:
  bool open_if_changed(const Hooks& hooks);
  void close() noexcept;

  std::filesystem::path path_;
  int descriptor_ = -1;  // held, so that no other file can get its inode
  uint64_t offset_ = 0;
  std::string partial_;
};

}  // namespace molora
