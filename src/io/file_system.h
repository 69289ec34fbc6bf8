// The layer between this program and a disk: every call that a checkpoint makes goes through a
// FileSystem, so that tests can put one in its place that fails, crashes, forgets or is slow.
//
// Rules that all implementations share, and on which the code above may rely after a crash of the
// machine (POSIX, and what common file systems keep of it):
//   - bytes are on the device after sync() of their file, not before;
//   - a name (created, renamed, removed) is on the device after sync_folder() of its folder;
//   - rename is atomic: either the old name or the new one is there, never both or neither.
// Every failure throws IoError with the path, the operation and the system's reason. Threads may
// use one FileSystem at the same time, one file object each.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace molora {

// A file being written front to back.
class WritableFile {
 public:
  virtual ~WritableFile() = default;
  WritableFile(const WritableFile&) = delete;
  WritableFile& operator=(const WritableFile&) = delete;
  WritableFile(WritableFile&&) = delete;
  WritableFile& operator=(WritableFile&&) = delete;

  // Appends some bytes from the front of `bytes`, at least one unless it is empty; returns how
  // many.
  virtual size_t write_some(std::span<const std::byte> bytes) = 0;
  // Brings what was written to the device.
  virtual void sync() = 0;
  // Reports what the system could not write so far. Destruction without it reports nothing.
  virtual void close() = 0;

  // Appends all of `bytes`.
  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }

 protected:
  WritableFile() = default;
};

// A file open for reading at any place. Threads may read at the same time.
class ReadableFile {
 public:
  virtual ~ReadableFile() = default;
  ReadableFile(const ReadableFile&) = delete;
  ReadableFile& operator=(const ReadableFile&) = delete;
  ReadableFile(ReadableFile&&) = delete;
  ReadableFile& operator=(ReadableFile&&) = delete;

  // When it was opened.
  virtual uint64_t size() const = 0;
  // Fills `into` with the bytes that begin at `offset`. Throws: IoError, also when the file ends
  // before.
  virtual void read_at(uint64_t offset, std::span<std::byte> into) const = 0;

 protected:
  ReadableFile() = default;
};

class FileSystem {
 public:
  struct Entry {
    std::string name;  // within the folder
    bool is_folder = false;
  };

  virtual ~FileSystem() = default;
  FileSystem(const FileSystem&) = delete;
  FileSystem& operator=(const FileSystem&) = delete;
  FileSystem(FileSystem&&) = delete;
  FileSystem& operator=(FileSystem&&) = delete;

  // A new or emptied file.
  virtual std::unique_ptr<WritableFile> create(const std::filesystem::path& path) = 0;
  // A regular file.
  virtual std::unique_ptr<ReadableFile> open(const std::filesystem::path& path) = 0;
  // One folder; its parent must be there, itself may be.
  virtual void make_folder(const std::filesystem::path& path) = 0;
  virtual void sync_folder(const std::filesystem::path& path) = 0;
  // Over an existing file; onto an existing folder only when that is empty.
  virtual void rename(const std::filesystem::path& from, const std::filesystem::path& to) = 0;
  // A file, or an empty folder. One that is not there is no failure.
  virtual void remove(const std::filesystem::path& path) = 0;
  // The entries of a folder, sorted by name; none when there is no such folder.
  virtual std::vector<Entry> list(const std::filesystem::path& path) = 0;
  virtual bool exists(const std::filesystem::path& path) = 0;

 protected:
  FileSystem() = default;
};

// The files of this machine.
FileSystem& local_files();

// Reads a whole file. Throws: IoError, also when it is longer than max_bytes.
std::string read_file(FileSystem& files, const std::filesystem::path& path,
                      uint64_t max_bytes = uint64_t{1} << 32);

// Writes `content` to path + ".tmp", syncs it, renames it over `path` and syncs the folder: after a
// crash at any point `path` holds either its old content or all of the new one.
void write_file_atomic(FileSystem& files, const std::filesystem::path& path,
                       std::string_view content);

// mkdir -p; each folder that it makes, and its name in its parent, outlasts a crash.
void make_folders(FileSystem& files, const std::filesystem::path& path);

// A folder and everything in it, or a file.
void remove_all(FileSystem& files, const std::filesystem::path& path);

}  // namespace molora
