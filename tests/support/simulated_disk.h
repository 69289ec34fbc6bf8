// A disk in memory for tests of what writes and reads through io/file_system.h: it fails, fills up,
// is slow, and after a crash of the machine it has forgotten what was not synced.
//
// Thread-safe; may be the shared disk of many rank threads. Files must not outlive their disk.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "io/file_system.h"
#include "support/disk_faults.h"
#include "support/disk_image.h"

namespace molora::testing {

class SimulatedDisk final : public FileSystem {
 public:
  // Empty.
  SimulatedDisk();
  ~SimulatedDisk() override;

  // What goes wrong from now on; numbering begins again.
  void set_faults(const Faults& faults) { gate_.set(faults); }
  // See FaultGate: number and names of the calls so far, holding calls back, stopping the machine.
  FaultGate& gate() { return gate_; }
  int64_t calls() const { return gate_.calls(); }
  std::vector<std::string> log() const { return gate_.log(); }

  // Another disk: what a machine finds after losing its power now. This one stays as it is, so that
  // many ways to survive can be looked at. `seed`: of Survival::kRandom.
  std::unique_ptr<SimulatedDisk> after_crash(Survival how, uint64_t seed = 0) const;
  // The same done to this disk, which then has no faults; files opened before throw Crashed.
  // REQUIRES: no thread is in a call, but for held ones.
  void crash(Survival how, uint64_t seed = 0);
  // Every file with its bytes, as processes see it; folders end in "/". No numbered call.
  std::map<std::string, std::string> contents() const;

  std::unique_ptr<WritableFile> create(const std::filesystem::path& path) override;
  std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) override;
  void make_folder(const std::filesystem::path& path) override;
  void sync_folder(const std::filesystem::path& path) override;
  void rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
  void remove(const std::filesystem::path& path) override;
  std::vector<Entry> list(const std::filesystem::path& path) override;
  bool exists(const std::filesystem::path& path) override;

 private:
  class Writer;
  class Reader;
  explicit SimulatedDisk(DiskImage image);
  // Passes the gate, or fails as the gate decides. `what`: in the words of local_files().
  FaultGate::Pass enter(DiskOperation operation, const std::string& what,
                        const std::filesystem::path& path, size_t bytes = 0);

  FaultGate gate_;
  mutable std::mutex mutex_;
  DiskImage image_;
};

}  // namespace molora::testing
