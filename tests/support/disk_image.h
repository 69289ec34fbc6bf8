// The content of a simulated disk twice: as running processes see it (through the page cache of the
// kernel) and as the device has it. Not thread-safe.
//
// Failures throw IoError in the words of local_files().
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace molora::testing {

// What a machine finds after it lost its power. Whatever was synced is always there.
enum class Survival {
  kNothingUnsynced,  // nothing else
  // Every name, but no byte that was not synced: the well-known empty file after a rename.
  kAllNames,
  kEverything,
  // Of each folder, the first so many changes of names since its last sync (a rename whole or not
  // at all); of each file, its old bytes or a beginning of the new ones, perhaps as zeros.
  kRandom,
};

struct DiskNode {
  using Entries = std::map<std::string, std::shared_ptr<DiskNode>>;

  bool is_folder = false;
  // Of a file.
  std::string bytes;
  std::string synced_bytes;
  bool is_truncated = false;  // emptied since its last sync
  // A sync failed: the kernel takes the bytes for written from then on, and they are lost.
  bool has_lost_bytes = false;
  // Of a folder.
  Entries entries;
  Entries synced_entries;
};

class DiskImage {
 public:
  using Path = std::filesystem::path;
  using NodePtr = std::shared_ptr<DiskNode>;

  DiskImage();

  // Nothing when there is no such file or folder. Paths are taken from the root, "." is the root.
  NodePtr find(const Path& path) const;
  NodePtr create(const Path& path);
  NodePtr open(const Path& path) const;
  void make_folder(const Path& path);
  void rename(const Path& from, const Path& to);
  void remove(const Path& path);
  void sync_folder(const Path& path);
  uint64_t total_bytes() const;
  // Every file with its bytes; folders end in "/" and have none.
  std::map<std::string, std::string> contents() const;

  static void append(DiskNode& file, std::string_view bytes);
  static void sync(DiskNode& file);

  // Another disk: what is left of this one.
  DiskImage after_crash(Survival how, uint64_t seed) const;

 private:
  // One name of one folder that now means something else (nothing when it is gone).
  struct Edit {
    NodePtr folder;
    std::string name;
    NodePtr node;
  };
  // What reaches the device together.
  using Change = std::vector<Edit>;

  struct Place {
    NodePtr folder = nullptr;
    std::string name = {};
    NodePtr node = nullptr;  // what is there now; nothing for a new name
    int failure = 0;         // an errno when there is no way to the place
  };
  Place look(const Path& path) const;
  Place place_of(const std::string& operation, const Path& path) const;
  void make(Change change);
  static std::set<const DiskNode*> folders_of(const Change& change);
  std::vector<const Change*> surviving_changes(Survival how, std::mt19937_64& random) const;

  NodePtr root_;
  std::vector<Change> pending_;  // not yet on the device, in order
};

}  // namespace molora::testing
