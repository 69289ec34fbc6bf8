// What a SimulatedDisk does wrong: which call fails, stops the machine, is short, slow or held
// back.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace molora::testing {

// The calls of io/file_system.h, those that change a disk first.
enum class DiskOperation {
  kCreate,
  kWrite,
  kSync,
  kClose,
  kRename,
  kMakeFolder,
  kSyncFolder,
  kRemove,
  kOpen,
  kRead,
  kList,
  kExists,
};

const char* operation_name(DiskOperation operation);
inline bool changes_disk(DiskOperation operation) { return operation < DiskOperation::kOpen; }

// The machine has no power any more. No error of the program's own: nothing there may catch it and
// go on, as nothing goes on in a machine without power.
class Crashed : public std::exception {
 public:
  const char* what() const noexcept override { return "the simulated machine has stopped"; }
};

// Set before a run. Calls are numbered from 1 over all ranks and threads; a call is numbered when
// its path holds the text `path`, it is `operation` (where one is given), and it changes the disk
// or counts_reads is set. Everything below but stop_at touches numbered calls only.
struct Faults {
  std::string path;
  std::optional<DiskOperation> operation;
  bool counts_reads = false;

  // The machine stops: this call and every later one, numbered or not, throws Crashed and has no
  // effect (half of its effect where it writes bytes).
  int64_t stop_at = 0;
  // So many calls from this one on fail with an errno, as IoError.
  int64_t fail_at = 0;
  int64_t num_failures = 1;
  int fail_code = 0;
  // All that would change bytes or names fail.
  bool is_read_only = false;
  // A write takes no more bytes than this at once.
  size_t largest_write = std::numeric_limits<size_t>::max();
  // Bytes that the files of the disk may hold together.
  uint64_t capacity = std::numeric_limits<uint64_t>::max();
  // What a call takes, and each byte that it writes.
  std::chrono::nanoseconds call_delay{0};
  std::chrono::nanoseconds byte_delay{0};
};

// Numbers the calls of a disk and decides what becomes of each. Thread-safe.
class FaultGate {
 public:
  // What is left for a call that may go on.
  struct Pass {
    bool is_last = false;  // the machine stops in the middle of this write
    int failure = 0;       // an errno
    size_t largest_write = 0;
    uint64_t capacity = std::numeric_limits<uint64_t>::max();
  };

  void set(const Faults& faults);
  // Returns when the call may have its effect; waits while it is held back. `bytes`: to be written.
  // Throws: Crashed.
  Pass enter(DiskOperation operation, const std::filesystem::path& path, size_t bytes = 0);

  // Calls of this kind wait from now on, until release().
  void hold(const std::string& path, DiskOperation operation);
  // Returns when a call is held back. Throws std::runtime_error after a minute without one.
  void wait_until_held();
  void release();
  // Every call from now on, held ones too, throws Crashed.
  void stop();
  // The machine starts again: no faults, nothing is held. Threads that are held still throw
  // Crashed.
  void restart();
  // How often it did. A file that was opened in another one cannot be used.
  int64_t num_starts() const;

  // Numbered calls since set(); "write step-1/a" for each.
  int64_t calls() const;
  std::vector<std::string> log() const;

 private:
  bool is_numbered(DiskOperation operation, const std::string& path) const;
  bool is_held(DiskOperation operation, const std::string& path) const;
  int failure_of(DiskOperation operation, int64_t number) const;
  void wait_while_held(std::unique_lock<std::mutex>& lock, DiskOperation operation,
                       const std::string& path);

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  Faults faults_;
  std::vector<std::string> log_;
  bool has_stopped_ = false;
  int64_t num_starts_ = 0;
  std::optional<std::pair<std::string, DiskOperation>> held_;
  int num_held_ = 0;
};

}  // namespace molora::testing
