// Files: mapped, read whole or in places, written so that a crash leaves the old content or the new
// one.
//
// Every failure throws IoError with the path, the operation and the system's reason. No function
// here keeps state; a FileReader owns its descriptor, a MappedFile its mapping, and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace molora {

// A file open for reading at any place. What is read lies in the caller's memory and nowhere else
// in this process, unlike the touched pages of a MappedFile. Threads may read at the same time.
class FileReader {
 public:
  // Throws: IoError when the file cannot be opened or is not a regular file.
  explicit FileReader(const std::filesystem::path& path);
  ~FileReader();
  FileReader(FileReader&& other) noexcept;
  FileReader& operator=(FileReader&& other) noexcept;
  FileReader(const FileReader&) = delete;
  FileReader& operator=(const FileReader&) = delete;

  // Fills `into` with the bytes that begin at `offset`.
  // Throws: IoError, also when the file ends before.
  void read_at(uint64_t offset, std::span<std::byte> into) const;
  // When it was opened.
  uint64_t size() const { return size_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  friend class MappedFile;
  void close() noexcept;

  std::filesystem::path path_;
  int descriptor_ = -1;
  uint64_t size_ = 0;
};

// A whole file in memory, read-only, backed by the page cache.
//
// The bytes are valid while the object lives. Writing through the span's address is a fault of the
// program and ends in a signal: that is how frozen weights stay frozen.
class MappedFile {
 public:
  // Throws: IoError when the file cannot be opened, is not a regular file, or cannot be mapped.
  explicit MappedFile(const std::filesystem::path& path);
  // Maps the very file that `reader` has open, whatever its path names by now. The mapping does not
  // need the reader any more.
  explicit MappedFile(const FileReader& reader);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  std::string_view text() const { return {reinterpret_cast<const char*>(data_), size_}; }
  const std::filesystem::path& path() const { return path_; }

 private:
  void unmap() noexcept;

  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

// The content of a file. Throws: IoError, also when it is longer than max_bytes.
std::string read_file(const std::filesystem::path& path, uint64_t max_bytes = uint64_t{1} << 32);

// Writes `content` to path + ".tmp", syncs it, renames it over `path` and syncs the folder: after a
// crash at any point `path` holds either its old content or all of the new one.
void write_file_atomic(const std::filesystem::path& path, std::string_view content);

// Makes what was renamed or created in `folder` last beyond a crash.
void sync_folder(const std::filesystem::path& folder);

// mkdir -p. Throws: IoError.
void make_folders(const std::filesystem::path& folder);

class WritableFile;

// A file of this machine being written front to back. Not visible under its final name before the
// caller renames it; finish() must be called, a writer destroyed without it leaves a partial file
// behind.
class FileWriter {
 public:
  explicit FileWriter(const std::filesystem::path& path);
  ~FileWriter();
  FileWriter(const FileWriter&) = delete;
  FileWriter& operator=(const FileWriter&) = delete;
  FileWriter(FileWriter&&) = delete;
  FileWriter& operator=(FileWriter&&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text.data(), text.size()))); }
  uint64_t size() const { return size_; }
  // Syncs the content to the device and closes.
  void finish();

 private:
  std::unique_ptr<WritableFile> file_;
  uint64_t size_ = 0;
};

}  // namespace molora
